# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel has taken, to the page, inside of a guest (guest.py).

All memory that is not free is counted, pages in the lists of a processor as
free; without the page cache, memory of programs and their page tables. Before
that every cache is emptied and every slab without an object given back. What
is left repeats within a few KiB for 64 images.
"""
import os
import re
import time

PAGE_KIB = os.sysconf('SC_PAGE_SIZE') // 1024
SLABS = '/sys/kernel/slab'
TRACING = '/sys/kernel/tracing'
# Of the table, the first that matches; slabs by their name
GROUPS = (
    ('threads', r'^(stacks$|task_struct|sighand_cache|signal_cache|cred_jar|pid$|vmap_area|kmalloc-.*task)'),
    ('files in sysfs and debugfs', r'^(kernfs|inode_cache|dentry|lsm_inode|debugfs)'),
    ('kmalloc to 8 KiB', r'^kmalloc-'),
    ('kmalloc above', r'^large$'),
    ('the backing file', r'^(ext4|xfs|jbd2|filp|file_lock|lsm_file|buffer_head)'),
    ('whole pages', r'^pages$'),
)
OTHER = 'other slabs, percpu'


def write_file(path, text):
    with open(path, 'w') as f:
        f.write(text)


def read_file(path):
    with open(path) as f:
        return f.read()


def settle():
    """Give back what can be given back. Objects that RCU frees come a while later."""
    os.sync()
    for _ in range(3):
        write_file('/proc/sys/vm/drop_caches', '3')
        time.sleep(0.3)
        for cache in os.listdir(SLABS):
            write_file(f'{SLABS}/{cache}/shrink', '1')
    write_file('/proc/sys/vm/stat_refresh', '1')


def slabs():
    """KiB of pages by cache."""
    found = {}
    for line in read_file('/proc/slabinfo').splitlines()[2:]:
        words = line.split()
        found[words[0]] = int(words[14]) * int(words[5]) * PAGE_KIB
    return found


def taken():
    """KiB by part; the parts are all there is."""
    settle()
    zones = read_file('/proc/zoneinfo')
    pages = {name: sum(map(int, re.findall(pattern, zones, re.M))) for name, pattern in
             (('managed', r'^ +managed +(\d+)'), ('free', r'^ +pages free +(\d+)'), ('lists', r'^ +count: +(\d+)'))}
    stat = dict(line.split() for line in read_file('/proc/vmstat').splitlines())
    info = {key: int(value) for key, value in re.findall(r'^(\w+): +(\d+)', read_file('/proc/meminfo'), re.M)}
    user = sum(int(stat[key]) for key in ('nr_file_pages', 'nr_anon_pages', 'nr_page_table_pages'))
    parts = slabs()
    parts['large'] = info['Slab'] - sum(parts.values())
    parts['stacks'] = info['VmallocUsed']
    parts['percpu'] = info['Percpu']
    total = (pages['managed'] - pages['free'] - pages['lists'] - user) * PAGE_KIB
    parts['pages'] = total - sum(parts.values())
    return parts


def difference(before, after, count):
    """KiB for each of COUNT, by part."""
    both = {name: (after.get(name, 0) - before.get(name, 0)) / count for name in {*before, *after}}
    return {name: kib for name, kib in both.items() if kib}


def grouped(parts):
    rows = dict.fromkeys([*(name for name, _ in GROUPS), OTHER], 0)
    for part, kib in parts.items():
        rows[next((name for name, pattern in GROUPS if re.search(pattern, part)), OTHER)] += kib
    return rows


# ---- who has asked for it -------------------------------------------------------

EVENTS = ('kmalloc', 'kmalloc_node', 'mm_page_alloc', 'kfree', 'mm_page_free')


def traced(function):
    """The kernel's trace of what FUNCTION allocates and frees."""
    events = [e for e in EVENTS if os.path.isdir(f'{TRACING}/events/kmem/{e}')]
    triggers = [e for e in events if 'alloc' in e]
    write_file(TRACING + '/buffer_size_kb', '65536')
    write_file(TRACING + '/trace', '')
    for e in triggers:
        write_file(f'{TRACING}/events/kmem/{e}/trigger', 'stacktrace')
    for e in events:
        write_file(f'{TRACING}/events/kmem/{e}/enable', '1')
    function()
    time.sleep(1)
    for e in events:
        write_file(f'{TRACING}/events/kmem/{e}/enable', '0')
    for e in triggers:
        write_file(f'{TRACING}/events/kmem/{e}/trigger', '!stacktrace')
    return read_file(TRACING + '/trace')


def askers(trace, pattern):
    """Bytes that are still there, by the innermost function that matches."""
    live, where = {}, None
    for line in trace.splitlines():
        event = re.search(r' (k\w+|mm_page_\w+): .*?(?:ptr|pfn)=(\S+)(.*)', line)
        if event:
            name, where, rest = event.groups()
            live.pop(where, None)
            if name.startswith('kmalloc'):
                live[where] = [int(re.search(r'bytes_alloc=(\d+)', rest)[1]), None]
            elif name == 'mm_page_alloc':
                live[where] = [PAGE_KIB * 1024 << int(re.search(r'order=(\d+)', rest)[1]), None]
        elif line.startswith(' =>') and where in live:
            caller = line.split()[1].split('+')[0]
            if where.startswith('0x') and re.search('allocate_slab|kmalloc_large', caller):
                # Pages of what the other events tell
                del live[where]
            elif not live[where][1] and re.search(pattern, caller):
                live[where][1] = caller
    sums = {}
    for size, caller in live.values():
        if caller:
            sums[caller] = sums.get(caller, 0) + size
    return sums
