#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The inside of a benchmark: guest.py JSON-OF-OPTIONS RESULT-DIRECTORY.

Runs as root in the machine that tests/bench/bench has started. The disk is
null_blk with its data in memory and a timer for each request; on it lies ext4,
on that all targets, side by side. One fio does all patterns on one target; the
targets take turns, and that for some rounds. Every result is a line of JSON.
"""
import fcntl
import glob
import json
import mmap
import os
import random
import subprocess
import sys
import time

import memory

MIB = 1 << 20
DIR = '/run/bench'
HERE = os.path.dirname(os.path.realpath(__file__))
DISK_MIB = 12288
COMPLETION_NS = 50000
MEMORY_IMAGES = 64
LOOP_CTL_REMOVE = 0x4C81


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, universal_newlines=True, **kwargs).stdout.strip()


def write_file(path, text):
    with open(path, 'w') as f:
        f.write(text)


def have(program):
    return any(os.access(f'{d}/{program}', os.X_OK) for d in os.environ['PATH'].split(':'))


# ---- the place --------------------------------------------------------------

def null_disk(index, mib, cache_mib=0):
    """A disk in the guest's memory that takes 50 us of its time for a request; without a cache a flush is none."""
    config = '/sys/kernel/config'
    if not os.path.isdir(config + '/nullb'):
        run('mount', '-t', 'configfs', 'configfs', config)
    disk = f'{config}/nullb/nullb{index}'
    os.mkdir(disk)
    for name, value in (('memory_backed', 1), ('size', mib), ('blocksize', 512), ('queue_mode', 2),
                        ('submit_queues', os.cpu_count()), ('hw_queue_depth', 128), ('irqmode', 2), ('discard', 1),
                        ('completion_nsec', COMPLETION_NS), ('cache_size', cache_mib), ('power', 1)):
        write_file(f'{disk}/{name}', str(value))
    write_file(f'/sys/block/nullb{index}/queue/scheduler', 'none')
    return f'/dev/nullb{index}'


def make_disk():
    run('modprobe', 'null_blk', 'nr_devices=0')
    null_disk(0, DISK_MIB)
    run('mkfs.ext4', '-q', '-m', '0', '-N', '4096', '-E', 'lazy_itable_init=0,lazy_journal_init=0', '/dev/nullb0')
    os.makedirs(DIR, exist_ok=True)
    run('mount', '/dev/nullb0', DIR)
    os.chdir(DIR)


def trim():
    """What was removed is given back to the guest's memory, now and not while the next one is measured."""
    os.sync()
    run('fstrim', '.')


def fill(path, size):
    """Every block written, so that reads are reads and writes are overwrites."""
    run('dd', 'if=/dev/zero', f'of={path}', 'bs=1M', f'count={size}', 'oflag=direct', 'conv=notrunc', 'status=none')


def write_direct(path, offset, length):
    """Zeros, around the page cache."""
    buf = mmap.mmap(-1, length)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    assert os.pwrite(fd, buf, offset) == length
    os.close(fd)


# ---- targets ----------------------------------------------------------------
#
# A target makes its image, attaches it, tells where it is, and goes away. NAME
# is the row in the table. "sparse" images begin empty.

class Target:
    name = None
    read_only = False
    needs = ()
    module = None

    def __init__(self, size, sparse=False):
        self.size = size
        self.sparse = sparse
        self.file = f'{self.name.replace(" ", "-")}{"-sparse" if sparse else ""}.img'
        self.path = None

    def usable(self):
        return all(have(p) for p in self.needs) and \
            (not self.module or subprocess.run(['modprobe', *self.module], stderr=subprocess.DEVNULL).returncode == 0)

    def up(self):
        self.create()
        self.path = self.attach()
        if not self.sparse and not self.read_only:
            fill(self.path, self.size)

    def down(self):
        self.detach()
        os.unlink(self.file)

    def create(self):
        with open(self.file, 'wb') as f:
            f.truncate(self.size * MIB)

    def attach(self):
        return os.path.realpath(self.file)

    def detach(self):
        pass


class Raw(Target):
    name = 'raw file'


class Loop(Target):
    name = 'loop'
    module = ('loop',)

    def attach(self):
        return run('losetup', '-f', '--show', '--direct-io=on', self.file)

    def detach(self):
        run('losetup', '-d', self.path)


class Vhd(Target):
    needs = ('vhdctl',)
    module = ('vhd',)
    kind = None

    def create(self):
        run('vhdctl', 'create', '--type', self.kind, '--size', f'{self.size}M', self.file)

    def attach(self):
        return run('vhdctl', 'attach', '--fast-lane=off', self.file)

    def detach(self):
        run('vhdctl', 'detach', '--wait=10', self.path)


class Fixed(Vhd):
    name = 'vhd fixed'
    kind = 'fixed'


class Dynamic(Vhd):
    name = 'vhd dynamic'
    kind = 'dynamic'


class Lane(Fixed):
    """The image is on XFS, and requests go past that."""
    name = 'vhd fast lane'

    def attach(self):
        return run('vhdctl', 'attach', '--fast-lane=on', self.file)


class RawDisk(Target):
    name = 'raw disk'

    def create(self):
        self.file = null_disk(2, 256)

    def down(self):
        pass


class OnDisk(Fixed):
    """The image is a disk."""
    name, index, lane = 'vhd on a disk', 3, 'off'

    def create(self):
        self.file = null_disk(self.index, 256)
        run('vhdctl', 'create', '--force', '--type', self.kind, '--size', f'{self.size}M', self.file)

    def attach(self):
        return run('vhdctl', 'attach', '--fast-lane=' + self.lane, self.file)

    def down(self):
        self.detach()


class LaneOnDisk(OnDisk):
    name, index, lane = 'vhd fast lane on a disk', 4, 'on'


class QemuNbd(Vhd):
    """qemu-nbd as its manual says: no page cache, asynchronous I/O."""
    needs = ('qemu-nbd', 'vhdctl')
    module = ('nbd', 'nbds_max=4', 'max_part=0')
    used = set()

    def attach(self):
        os.makedirs('/run/lock', exist_ok=True)
        device = next(f'/dev/nbd{i}' for i in range(4) if f'/dev/nbd{i}' not in self.used)
        run('qemu-nbd', '-f', 'vpc', '--cache=none', '--aio=native', '--discard=unmap', '-c', device, self.file)
        self.used.add(device)
        while int(open(f'/sys/block/{device[5:]}/size').read()) == 0:
            time.sleep(0.05)
        return device

    def detach(self):
        run('qemu-nbd', '-d', self.path)
        while os.path.exists(f'/sys/block/{self.path[5:]}/pid'):
            time.sleep(0.05)
        self.used.discard(self.path)


class QemuFixed(QemuNbd):
    name = 'qemu-nbd fixed'
    kind = 'fixed'


class QemuDynamic(QemuNbd):
    name = 'qemu-nbd dynamic'
    kind = 'dynamic'


class VhdiMount(Dynamic):
    """libvhdi over FUSE: reads only, through the page cache."""
    name = 'vhdimount'
    read_only = True
    needs = ('vhdimount', 'fusermount', 'vhdctl')
    module = ('fuse',)

    def attach(self):
        device = super().attach()
        fill(device, self.size)
        run('vhdctl', 'detach', '--wait=10', device)
        os.makedirs('/run/vhdi', exist_ok=True)
        run('vhdimount', self.file, '/run/vhdi')
        return '/run/vhdi/vhdi1'

    def detach(self):
        run('umount', '/run/vhdi')


ALL = {t.name: t for t in (Raw, Loop, Fixed, Dynamic, QemuFixed, QemuDynamic, VhdiMount)}
LANE = (Fixed, Lane, RawDisk, OnDisk, LaneOnDisk)


# ---- fio --------------------------------------------------------------------
#
# fio counts milliseconds. A pattern runs for a fixed time of the guest, long
# enough for that; where it cannot (first writes), there are many requests.

def job(name, rw, bs='4k', iodepth=1, **more):
    return dict(name=name, rw=rw, bs=bs, iodepth=iodepth, **more)


PATTERNS = [
    job('1M read', 'read', '1M', 4),
    job('1M write', 'write', '1M', 4),
    job('4k read qd1', 'randread'),
    job('4k write qd1', 'randwrite'),
    job('4k read qd32', 'randread', iodepth=32),
    job('4k write qd32', 'randwrite', iodepth=32),
    job('4k read 2x32', 'randread', iodepth=32, numjobs=2),
    job('4k write 2x32', 'randwrite', iodepth=32, numjobs=2),
    job('4k mixed qd32', 'randrw', iodepth=32, rwmixread=70),
    job('4k write+fsync', 'randwrite', fsync=1),
    job('4k read qd32 io_uring', 'randread', iodepth=32, ioengine='io_uring'),
    job('4k write qd32 io_uring', 'randwrite', iodepth=32, ioengine='io_uring'),
]
DEPTHS = [job(f'4k {kind} qd{d}', f'rand{kind}', iodepth=d) for kind in ('read', 'write') for d in (1, 2, 4, 8, 16, 32, 64)]
# One write into each block of 2 MiB, or everything in order: (size in MiB, job)
FIRST_WRITES = [
    (2048, job('4k first write qd1', 'write:2044k', number_ios=1024)),
    (2048, job('4k first write qd32', 'write:2044k', iodepth=32, number_ios=1024)),
    # Not the first sector of a block, whose write brings the bitmap
    (2048, job('4k first write mid qd1', 'write:2044k', number_ios=1024, offset='1m', size='2047m')),
    (2048, job('4k first write mid qd32', 'write:2044k', iodepth=32, number_ios=1024, offset='1m', size='2047m')),
    (256, job('4k first write+fsync', 'write:2044k', fsync=1, number_ios=128)),
    (1024, job('1M first write', 'write', '1M', 4)),
]


def job_file(where, jobs, runtime_ms, buffered):
    lines = ['[global]', *where, 'thread', 'randrepeat=1', 'group_reporting', 'allow_file_create=0']
    lines += ['direct=0', 'invalidate=1', 'fadvise_hint=random'] if buffered else ['direct=1']
    if runtime_ms:
        lines += ['time_based', f'runtime={runtime_ms}ms']
    for i, j in enumerate(jobs):
        lines += [f'[j{i}]', 'stonewall', 'new_group']
        lines += [f'{key}={value}' for key, value in {'ioengine': 'libaio', **j}.items() if key != 'name']
    return '\n'.join(lines) + '\n'


def fio(where, jobs, runtime_ms=None, buffered=False):
    """Run the jobs one after the other; yields the name and result of each."""
    write_file('/run/job', job_file(where, jobs, runtime_ms, buffered))
    run('fio', '--output-format=json', '--output=/run/fio.json', '/run/job')
    with open('/run/fio.json') as f:
        text = f.read()
    for j, r in zip(jobs, json.loads(text[text.index('{'):])['jobs']):
        yield j['name'], result(r)


def whole(target):
    return [f'filename={target.path}', f'size={target.size}m', 'norandommap']


def result(r):
    """Both directions together; the latency is that of the more frequent one."""
    if r['error']:
        raise RuntimeError(f"fio: error {r['error']}")
    parts = [r['read'], r['write']]
    most = max(parts, key=lambda p: p['total_ios'])
    percent = most['clat_ns'].get('percentile', {})
    return {
        'iops': sum(p['iops'] for p in parts),
        'mib_s': sum(p['bw_bytes'] for p in parts) / MIB,
        'ios': sum(p['total_ios'] for p in parts),
        'lat_us': most['lat_ns']['mean'] / 1000,
        'p50_us': percent.get('50.000000', 0) / 1000,
        'p95_us': percent.get('95.000000', 0) / 1000,
        'p99_us': percent.get('99.000000', 0) / 1000,
        'p999_us': percent.get('99.900000', 0) / 1000,
    }


# ---- sets -------------------------------------------------------------------

class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.out = open(directory + '/results.jsonl', 'w')
        self.profiles = 0

    def record(self, group, round_, target, pattern, values, **more):
        values = {k: round(v, 3) for k, v in values.items()}
        line = dict(set=group, round=round_, target=target, pattern=pattern, **more, **values)
        self.out.write(json.dumps(line) + '\n')
        self.out.flush()

    def targets(self, names, size, sparse=False):
        made = [ALL[name](size, sparse) for name in names if name in self.options['targets']]
        return [t for t in made if t.usable()]

    def wanted(self, jobs):
        return [j for j in jobs if not self.options['patterns'] or j['name'] in self.options['patterns']]

    def in_turn(self, group, targets, jobs, **more):
        """The targets take turns. Round 0 warms up: programs, caches, maps of files."""
        for round_ in range(self.options['rounds'] + 1):
            runtime = self.options['runtime_ms'] if round_ else 30
            for t in targets:
                mine = [j for j in jobs if not t.read_only or j['name'] in ('1M read', '4k read qd1')]
                for name, values in fio(whole(t), mine, runtime, buffered=t.read_only):
                    if round_:
                        self.record(group, round_, t.name, name, values, **more)

    def set_main(self):
        """Filled images, all patterns."""
        self.filled('main', ALL, PATTERNS)

    def on_xfs(self):
        """What the fast lane is compared with: images and files on XFS, and disks."""
        run('mkfs.xfs', '-q', null_disk(1, 1024))
        os.makedirs(DIR + '/xfs')
        run('mount', '/dev/nullb1', DIR + '/xfs')
        os.chdir(DIR + '/xfs')

    def off_xfs(self):
        os.chdir(DIR)
        run('umount', DIR + '/xfs')

    def set_lane(self):
        """The fast lane: images on XFS, and such as are a disk."""
        self.on_xfs()
        targets = [t(self.options['size']) for t in (Raw, Loop, *LANE)]
        targets = [t for t in targets if t.usable()]
        for t in targets:
            t.up()
        self.in_turn('lane', targets, self.wanted([j for j in PATTERNS if 'ioengine' not in j]))
        for t in targets:
            t.down()
        self.off_xfs()

    def set_depth(self):
        """Requests in flight from 1 to 64."""
        self.filled('depth', ('raw file', 'loop', 'vhd fixed', 'vhd dynamic', 'qemu-nbd dynamic'), DEPTHS)

    def filled(self, group, names, jobs):
        targets = self.targets(names, self.options['size'])
        for t in targets:
            t.up()
        self.in_turn(group, targets, self.wanted(jobs))
        for t in targets:
            t.down()

    def first_writes(self, group, patterns):
        """A new image for each pattern and round."""
        names = ('raw file', 'loop', 'vhd dynamic', 'qemu-nbd dynamic')
        for round_ in range(self.options['rounds']):
            for size, job_ in patterns:
                for t in self.targets(names, size, sparse=True) if self.wanted([job_]) else []:
                    t.up()
                    for name, values in fio(whole(t), [job_]):
                        self.record(group, round_ + 1, t.name, name, values)
                    t.down()
                    trim()

    def set_allocate(self):
        """First writes."""
        self.first_writes('allocate', FIRST_WRITES)

    def set_sync(self):
        """Flushes, on a disk that has a cache to be flushed."""
        run('mkfs.ext4', '-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', null_disk(5, 2048, 64))
        os.makedirs(DIR + '/cached')
        run('mount', '/dev/nullb5', DIR + '/cached')
        os.chdir(DIR + '/cached')
        self.filled('sync', ('raw file', 'loop', 'vhd fixed', 'vhd dynamic', 'qemu-nbd dynamic'),
                    [j for j in PATTERNS if 'fsync' in j])
        self.first_writes('sync', [(size, j) for size, j in FIRST_WRITES if 'fsync' in j])
        os.chdir(DIR)
        run('umount', DIR + '/cached')

    def set_chain(self):
        """Chains of many depths, their blocks in all layers; and such as lie in the base only."""
        chains = [Chain(self.options['size'], n) for n in (1, 8, 32, 128)]
        chains += [Chain(self.options['size'], n, base=True) for n in (32, 128)]
        for chain in chains:
            chain.up()
        for round_ in range(self.options['rounds'] + 1):
            for chain in chains:
                for name, values in fio(whole(chain), [job('4k read qd32', 'randread', iodepth=32)],
                                        self.options['runtime_ms'] if round_ else 200):
                    if round_:
                        self.record('chain', round_, chain.name, name + (', all in the base' if chain.base else ''), values,
                                    depth=chain.depth)
        for chain in chains:
            chain.down()

    def set_size(self):
        """Dynamic images of many sizes, with as many blocks in each, far apart."""
        images = [SparseImage(gib) for gib in (1, 16, 128, 1024, 2040)]
        for image in images:
            image.up()
        for round_ in range(self.options['rounds'] + 1):
            for image in images:
                where = [f'read_iolog={image.log}', 'replay_no_stall=1']
                for name, values in fio(where, [job('4k read qd32', 'read', iodepth=32)]):
                    if round_:
                        self.record('size', round_, image.name, name, values, gib=image.gib,
                                    attach_ms=image.attach_ms)
        for image in images:
            image.down()

    def set_number(self):
        """The same device with more and more others attached beside it."""
        target = Dynamic(self.options['size'])
        assert target.usable()
        target.up()
        kib, loop_kib = (sum(memory_of(kind)[0].values()) for kind in (Dynamic, NewLoop))
        others = [Idle(i) for i in range(127)]
        for t in others:
            t.create()
        for count in (1, 16, 128):
            for t in others[:count - 1]:
                t.path = t.path or t.attach()
            for round_ in range(self.options['rounds'] + 1):
                for name, values in fio(whole(target), [job('4k read qd32', 'randread', iodepth=32)],
                                        self.options['runtime_ms'] if round_ else 30):
                    if round_:
                        self.record('number', round_, f'{count} attached', name, values, count=count,
                                    kib_each=round(kib), kib_loop=round(loop_kib))
        for t in [*others, target]:
            t.down()

    def set_memory(self):
        """Where the memory of an attached image goes."""
        for kind in (Dynamic, ReadOnly, Fixed, Lane, NewLoop):
            if kind is Lane:
                self.on_xfs()
            parts, left, asked = memory_of(kind, asked_by=r'^(vhd|loop|lo)_|^blk_mq_alloc_map_and_rqs')
            line = dict(target=kind.name, parts=parts, left=left, asked=asked)
            self.out.write(json.dumps(line) + '\n')
            self.out.flush()
            if kind is Lane:
                self.off_xfs()

    def profiled(self, target, job_, runtime_ms=None):
        self.profiles += 1
        marks = {'exec_prerun': self.directory + '/mark', 'exec_postrun': self.directory + '/mark stop'}
        for name, values in fio(whole(target), [{**job_, **marks}], runtime_ms):
            self.record('profile', 1, target.name, name, values, counts=f'counts-{self.profiles}')

    def set_profile(self):
        """Instructions by address, counted by the plugin outside (insns.c)."""
        lane = [t(self.options['size']) for t in LANE if t.name in self.options['targets'] and t.name not in ALL]
        if lane:
            self.on_xfs()
        targets = self.targets(ALL, self.options['size']) + lane
        for t in targets:
            t.up()
        for t in targets:
            for j in self.wanted(PATTERNS + [d for d in DEPTHS if d not in PATTERNS]):
                list(fio(whole(t), [j], 30))
                self.profiled(t, j, self.options['runtime_ms'])
        for size, job_ in FIRST_WRITES:
            for t in self.targets(ALL, size, sparse=True) if job_['name'] in self.options['patterns'] else []:
                t.up()
                self.profiled(t, job_)
                t.down()
                trim()
        with open('/proc/kallsyms') as f:
            write_file(self.directory + '/kallsyms', f.read())


class Chain(Dynamic):
    """Block B of the disk is in layer B modulo DEPTH, counted from the base; or all are in the base."""
    BLOCK = 2 * MIB

    def __init__(self, size, depth, base=False):
        super().__init__(size)
        self.depth = depth
        self.base = base
        self.name = f'{depth} layer{"s" * (depth > 1)}' + (', all in the base' if base else '')
        self.files = [f'chain-{depth}{"-base" * base}-{i}.vhd' for i in range(depth)]

    def up(self):
        for i, file in enumerate(self.files):
            run('vhdctl', 'create', *(['--parent', self.files[i - 1]] if i else ['--size', f'{self.size}M']), file)
            self.file = file
            if not self.base:
                self.write(i, self.depth)
            elif not i:
                self.write(0, 1)
        self.path = self.attach()

    def write(self, first, step):
        blocks = range(first, self.size * MIB // self.BLOCK, step)
        if not blocks:
            return
        device = self.attach()
        for b in blocks:
            write_direct(device, b * self.BLOCK, self.BLOCK)
        run('vhdctl', 'detach', '--wait=10', device)

    def down(self):
        self.detach()
        for file in self.files:
            os.unlink(file)


class SparseImage(Dynamic):
    BLOCKS, BLOCK, READS = 24, 2 * MIB, 10000

    def __init__(self, gib):
        super().__init__(gib << 10, sparse=True)
        self.gib = gib
        self.name = f'{gib} GiB'
        self.file = f'size-{gib}.vhd'
        self.log = f'/run/iolog-{gib}'

    def up(self):
        self.create()
        device = self.attach()
        step = (self.size * MIB // self.BLOCKS) // self.BLOCK * self.BLOCK
        for i in range(self.BLOCKS):
            write_direct(device, i * step, self.BLOCK)
        run('vhdctl', 'detach', '--wait=10', device)
        # Nothing of the image is in memory; vhdctl, whose file comes from the host, is
        write_file('/proc/sys/vm/drop_caches', '3')
        run('vhdctl', '--help')
        start = time.monotonic()
        self.path = self.attach()
        self.attach_ms = round((time.monotonic() - start) * 1000, 1)
        rng = random.Random(self.gib)
        reads = [rng.randrange(self.BLOCKS) * step + rng.randrange(self.BLOCK // 4096) * 4096 for _ in range(self.READS)]
        write_file(self.log, f'fio version 2 iolog\n{self.path} add\n{self.path} open\n' +
                   ''.join(f'{self.path} read {at} 4096\n' for at in reads) + f'{self.path} close\n')


class ReadOnly(Dynamic):
    name = 'vhd dynamic, read only'

    def attach(self):
        return run('vhdctl', 'attach', '--read-only', '--fast-lane=off', self.file)


class NewLoop(Loop):
    """Loop devices stay when they are detached, and their memory with them."""

    @staticmethod
    def remove_unused():
        fd = os.open('/dev/loop-control', os.O_RDWR)
        for path in glob.glob('/sys/block/loop*'):
            if not os.path.exists(path + '/loop'):
                fcntl.ioctl(fd, LOOP_CTL_REMOVE, int(path[len('/sys/block/loop'):]))
        os.close(fd)

    def usable(self):
        usable = super().usable()
        self.remove_unused()
        return usable

    def detach(self):
        super().detach()
        # It goes with its last close
        while os.path.exists(f'/sys/block/{self.path[5:]}/loop'):
            time.sleep(0.05)
        self.remove_unused()


def memory_of(kind, asked_by=None):
    """
    KiB for each of 64 images of 1 GiB by part; what stays of each when they are
    gone; and bytes by the function that asked for them, if it matches ASKED_BY.
    """
    targets = [kind(1024, sparse=True) for _ in range(MEMORY_IMAGES)]
    assert targets[0].usable()
    for i, t in enumerate(targets):
        t.file = f'memory-{i}.img'
        t.create()

    def attach(some):
        for t in some:
            t.path = t.attach()

    def detach(some):
        for t in some:
            t.detach()

    # What is made at the first time only
    attach(targets)
    detach(targets)
    before = memory.taken()
    attach(targets)
    parts = memory.difference(before, memory.taken(), len(targets))
    detach(targets)
    left = sum(memory.difference(before, memory.taken(), len(targets)).values())
    asked = {}
    if asked_by:
        asked = memory.askers(memory.traced(lambda: attach(targets[:1])), asked_by)
        detach(targets[:1])
    for t in targets:
        os.unlink(t.file)
    return parts, left, asked


class Idle(Dynamic):
    def __init__(self, index):
        super().__init__(1024, sparse=True)
        self.file = f'idle-{index}.vhd'


def main():
    options, directory = json.loads(sys.argv[1]), sys.argv[2]
    make_disk()
    bench = Bench(options, directory)
    for name in options['sets']:
        getattr(bench, 'set_' + name)()
    write_file(directory + '/machine.json', json.dumps({
        'kernel': os.uname().release, 'kernel_version': os.uname().version, 'cpus': os.cpu_count()}))


main()
