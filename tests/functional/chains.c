// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Chains without vhdctl between; only the model has it merge and rebase.
 *
 *	chains make FILE MIB BLOCK-KIB [PARENT]	an empty image: fixed (block 0),
 *		dynamic, or, with a parent, differencing
 *	chains attach [-r] [-i] [-e ERRNO] FILE PARENT...	prints /dev/vhdN;
 *		-r: read-only; -i: whatever the parents' ids; -e: it must fail so
 *	chains snapshot [-e ERRNO] DEVICE FILE [CHILD]	prints the pause in
 *		microseconds; FILE is what the device is of; it goes on in CHILD
 *	chains commit -e ERRNO DEVICE PARENT	the device's image into its parent,
 *		which must fail so
 *	chains model OPERATIONS SEED DEPTH DIRECTORY [FIRST]	random writes, reads,
 *		zeroes, discards, flushes, snapshots, commits (both also live), rebases
 *		and reattachments against an array; chains of up to DEPTH layers, of
 *		FIRST to begin with
 */
#define _GNU_SOURCE
#include <endian.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "vhdtest.h"

#define MAX_DEPTH	130U
#define MIB		(1ULL << 20)

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static void pwrite_all(int fd, const void *buf, size_t len, off_t pos)
{
	if (pwrite(fd, buf, len, pos) != (ssize_t)len)
		die("pwrite: %s", strerror(errno));
}

/* ---- images ------------------------------------------------------------ */

static void seal(uint8_t *p, size_t len, uint32_t at)
{
	uint32_t sum = 0;
	size_t i;

	put32(p + at, 0);
	for (i = 0; i < len; i++)
		sum += p[i];
	put32(p + at, ~sum);
}

/* Of the copy at the beginning, where there is one: the end of a file in use moves. */
static void read_id(const char *path, uint8_t *id)
{
	int fd = open(path, O_RDONLY);
	off_t footer = 0;
	struct stat st;
	char magic[8];

	if (fd < 0 || fstat(fd, &st) || pread(fd, magic, 8, 0) != 8)
		die("%s: %s", path, strerror(errno));
	if (memcmp(magic, "conectix", 8))
		footer = st.st_size - 512;
	if (pread(fd, id, 16, footer + 68) != 16)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static void make_id(uint8_t *id)
{
	static uint32_t count;
	uint64_t now = (uint64_t)(seconds() * 1e9);

	count++;
	memcpy(id, &now, 8);
	memcpy(id + 8, &count, 4);
	memset(id + 12, 0xA5, 4);
}

/* W2ru: the parent lies beside it.  Room for the name is a sector. */
static void name_parent(uint8_t *header, uint8_t *data, uint64_t pos,
			const char *parent)
{
	const char *slash = strrchr(parent, '/');
	const char *name = slash ? slash + 1 : parent;
	uint32_t n = 0;

	data[n] = '.';
	data[n + 2] = '\\';
	for (n = 4; *name && n < 510; n += 2)
		data[n] = *name++;
	memcpy(header + 576, "W2ru", 4);
	put32(header + 580, 512);
	put32(header + 584, n);
	put64(header + 592, pos);
}

/* Geometry is advice. */
static void make_image(const char *path, uint64_t size, uint32_t block,
		       const char *parent)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	uint32_t entries = block ? (size + block - 1) / block : 0;
	uint32_t table = ((entries * 4 + 511) / 512) * 512;
	uint8_t footer[512] = "conectix", header[1024] = "cxsparse";
	uint8_t name[512] = { 0 };
	uint64_t end = block ? (0x800 + table + 4095) / 4096 * 4096 + 3584 :
			       size;
	uint8_t *bat = malloc(table + 1);

	if (fd < 0 || !bat)
		die("%s: %s", path, strerror(errno));
	put32(footer + 8, 2);
	put32(footer + 12, 0x10000);
	put64(footer + 16, block ? 512 : UINT64_MAX);
	memcpy(footer + 28, "win \0\x0a\0\0Wi2k", 12);
	put64(footer + 40, size);
	put64(footer + 48, size);
	put32(footer + 60, parent ? 4 : block ? 3 : 2);
	make_id(footer + 68);
	seal(footer, 512, 64);
	if (ftruncate(fd, end))
		die("%s: %s", path, strerror(errno));
	pwrite_all(fd, footer, 512, end);
	if (block) {
		put64(header + 8, UINT64_MAX);
		put64(header + 16, 0x600);
		put32(header + 24, 0x10000);
		put32(header + 28, entries);
		put32(header + 32, block);
		if (parent) {
			read_id(parent, header + 40);
			name_parent(header, name, 0x600 + table, parent);
			pwrite_all(fd, name, 512, 0x600 + table);
		}
		seal(header, 1024, 36);
		memset(bat, 0xFF, table);
		pwrite_all(fd, bat, table, 0x600);
		pwrite_all(fd, header, 1024, 512);
		pwrite_all(fd, footer, 512, 0);
	}
	free(bat);
	if (fsync(fd) || close(fd))
		die("%s: %s", path, strerror(errno));
}

/* ---- devices ----------------------------------------------------------- */

/* Returns the device's number or -errno. */
static int attach_chain(int control, char **paths, uint32_t nr, uint32_t flags)
{
	struct vhd_attach_args args = {
		.size = sizeof(args),
		.flags = flags,
		.nr_layers = nr,
		.index = -1,
	};
	int32_t fds[256];
	uint32_t i;
	int err;

	for (i = 0; i < nr; i++) {
		bool ro = i || flags & VHD_ATTACH_READ_ONLY;

		fds[i] = open(paths[i], (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (fds[i] < 0)
			die("%s: %s", paths[i], strerror(errno));
	}
	args.fds = (uintptr_t)fds;
	err = ioctl(control, VHD_IOC_ATTACH, &args) ? -errno : args.index;
	for (i = 0; i < nr; i++)
		close(fds[i]);
	return err;
}

static int cmd_attach(int argc, char **argv)
{
	uint32_t flags = 0;
	int opt, want = 0, ret;

	while ((opt = getopt(argc, argv, "+rie:")) != -1) {
		if (opt == 'r')
			flags |= VHD_ATTACH_READ_ONLY;
		else if (opt == 'i')
			flags |= VHD_ATTACH_IGNORE_PARENT_ID;
		else if (opt == 'e')
			want = atoi(optarg);
		else
			return 2;
	}
	ret = attach_chain(open_control(), argv + optind, argc - optind, flags);
	if (want && ret != -want)
		die("attach: %s, expected %s",
		    ret < 0 ? strerror(-ret) : "success", strerror(want));
	if (!want && ret < 0)
		die("attach: %s", strerror(-ret));
	if (!want)
		printf("/dev/vhd%d\n", ret);
	return 0;
}

/* The device goes on in @child.  Returns microseconds of pause or -errno. */
static int64_t snapshot_to(int control, int index, const char *path,
			   const char *child)
{
	struct vhd_snapshot_args args = {
		.size = sizeof(args),
		.index = index,
		.child_fd = open(child, O_RDWR | O_CLOEXEC),
		.parent_fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1,
	};
	int64_t ret;

	if (args.child_fd < 0)
		die("%s: %s", child, strerror(errno));
	ret = ioctl(control, VHD_IOC_SNAPSHOT, &args) ?
		      -errno : (int64_t)(args.pause_ns / 1000);
	close(args.child_fd);
	if (args.parent_fd >= 0)
		close(args.parent_fd);
	return ret;
}

static int cmd_snapshot(int argc, char **argv)
{
	int opt, index, want = 0;
	int64_t ret;

	while ((opt = getopt(argc, argv, "+e:")) != -1)
		if (opt == 'e')
			want = atoi(optarg);
	if (argc - optind != 3 || sscanf(argv[optind], "/dev/vhd%d", &index) != 1)
		return 2;
	ret = snapshot_to(open_control(), index, argv[optind + 1],
			  argv[optind + 2]);
	if (want ? ret != -want : ret < 0)
		die("snapshot: %s", ret < 0 ? strerror(-ret) : "success");
	if (!want)
		printf("%lld\n", (long long)ret);
	return 0;
}

static int cmd_commit(int argc, char **argv)
{
	struct vhd_commit_args args = { .size = sizeof(args) };
	int opt, want = 0, ret;

	while ((opt = getopt(argc, argv, "+e:")) != -1)
		if (opt == 'e')
			want = atoi(optarg);
	if (!want || argc - optind != 2 ||
	    sscanf(argv[optind], "/dev/vhd%d", &args.index) != 1)
		return 2;
	args.parent_fd = open(argv[optind + 1], O_RDWR | O_CLOEXEC);
	if (args.parent_fd < 0)
		die("%s: %s", argv[optind + 1], strerror(errno));
	ret = ioctl(open_control(), VHD_IOC_COMMIT, &args) ? errno : 0;
	if (ret != want)
		die("commit: %s, expected %s", strerror(ret), strerror(want));
	return 0;
}

/* ---- the model ----------------------------------------------------------- */

#define DISK_SECTORS	20480U	/* 10 MiB */
#define MAX_IO		1024U

/* @foreign: the lowest image has blocks of a size that is only read */
struct model {
	int control, index, fd;
	const char *dir;
	bool foreign;
	uint32_t made, nr, depth, deepest, sectors;
	char *paths[MAX_DEPTH];		/* the top first */
	uint64_t cells[DISK_SECTORS];
	uint64_t tag, state;
	uint8_t *buf;
	unsigned int writes, reads, zeroes, discards, syncs, during, attaches;
	unsigned int snapshots, live_snapshots, commits, live_commits, rebases;
};

static uint32_t dice(struct model *m, uint32_t n)
{
	m->state = m->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (m->state >> 33) % n;
}

static void fill(uint8_t *p, uint64_t tag, uint32_t sector)
{
	uint64_t words[64];
	uint32_t i;

	for (i = 0; i < 64; i++)
		words[i] = tag ? tag << 24 ^ sector ^ (uint64_t)i << 58 : 0;
	memcpy(p, words, 512);
}

static void check_read(struct model *m, uint32_t first, uint32_t n)
{
	uint8_t want[512];
	uint32_t i;

	if (pread(m->fd, m->buf, n * 512, first * 512ULL) != (ssize_t)n * 512)
		die("read of %u+%u: %s", first, n, strerror(errno));
	for (i = 0; i < n; i++) {
		fill(want, m->cells[first + i], first + i);
		if (!memcmp(want, m->buf + i * 512, 512))
			continue;
		die("depth %u: sector %u is not what write %llu left (%016llx, not %016llx)",
		    m->nr, first + i, (unsigned long long)m->cells[first + i],
		    (unsigned long long)*(uint64_t *)(m->buf + i * 512),
		    (unsigned long long)*(uint64_t *)want);
	}
	m->reads++;
}

static void range(struct model *m, uint32_t *first, uint32_t *n)
{
	*first = dice(m, m->sectors);
	*n = 1 + dice(m, dice(m, 6) ? 24 : MAX_IO);
	if (*n > m->sectors - *first)
		*n = m->sectors - *first;
}

static void do_write(struct model *m)
{
	uint32_t first, n, i;

	range(m, &first, &n);
	m->tag++;
	for (i = 0; i < n; i++) {
		fill(m->buf + i * 512, m->tag, first + i);
		m->cells[first + i] = m->tag;
	}
	if (pwrite(m->fd, m->buf, n * 512, first * 512ULL) != (ssize_t)n * 512)
		die("write of %u+%u: %s", first, n, strerror(errno));
	m->writes++;
}

static void do_zero(struct model *m)
{
	uint64_t range_bytes[2];
	uint32_t first, n;

	range(m, &first, &n);
	range_bytes[0] = first * 512ULL;
	range_bytes[1] = n * 512ULL;
	if (ioctl(m->fd, BLKZEROOUT, range_bytes))
		die("write-zeroes of %u+%u: %s", first, n, strerror(errno));
	memset(m->cells + first, 0, n * sizeof(*m->cells));
	m->zeroes++;
}

/*
 * What the top has of it becomes zeros, what is a parent's may stay; whichever it
 * is now, it is that from now on.
 */
static void do_discard(struct model *m)
{
	static const uint8_t zeros[512];
	uint64_t range_bytes[2];
	uint32_t first, n, i;

	range(m, &first, &n);
	range_bytes[0] = first * 512ULL;
	range_bytes[1] = n * 512ULL;
	if (ioctl(m->fd, BLKDISCARD, range_bytes))
		die("discard of %u+%u: %s", first, n, strerror(errno));
	if (pread(m->fd, m->buf, n * 512, first * 512ULL) != (ssize_t)n * 512)
		die("read of %u+%u: %s", first, n, strerror(errno));
	for (i = 0; i < n; i++)
		if (!memcmp(m->buf + i * 512, zeros, 512))
			m->cells[first + i] = 0;
	check_read(m, first, n);
	m->discards++;
}

static char *new_path(struct model *m)
{
	char *path;

	if (asprintf(&path, "%s/%u.vhd", m->dir, m->made++) < 0)
		die("no memory");
	return path;
}

static uint32_t block_size(struct model *m, uint32_t least)
{
	uint32_t size = (512U << 10) << dice(m, 3);

	return size < least ? least : size;
}

/*
 * An image with such blocks is not written by the driver: it has content from the
 * beginning.  Of a dynamic image clear bits are zeros, whatever lies there.
 */
static void fill_foreign(struct model *m, uint32_t block)
{
	uint32_t per = block / 512, bits = (per / 8 + 511) / 512 * 512;
	uint8_t footer[512], entry[4], *slot = malloc(bits + block);
	int fd = open(m->paths[0], O_RDWR);
	uint64_t end = lseek(fd, -512, SEEK_END);
	uint32_t b, i, sector;

	if (fd < 0 || !slot || pread(fd, footer, 512, 0) != 512)
		die("%s: %s", m->paths[0], strerror(errno));
	m->tag++;
	for (b = 0; b * per < m->sectors; b++) {
		if (dice(m, 2))
			continue;
		memset(slot, 0, bits);
		memset(slot + bits, 0xEE, block);
		for (i = 0; i < per; i++) {
			sector = b * per + i;
			if (sector >= m->sectors || !dice(m, 4))
				continue;
			slot[i / 8] |= 0x80 >> (i & 7);
			fill(slot + bits + i * 512, m->tag, sector);
			m->cells[sector] = m->tag;
		}
		put32(entry, end / 512);
		pwrite_all(fd, entry, 4, 0x600 + b * 4);
		pwrite_all(fd, slot, bits + block, end);
		end += bits + block;
	}
	pwrite_all(fd, footer, 512, end);
	if (fsync(fd) || close(fd))
		die("%s: %s", m->paths[0], strerror(errno));
	free(slot);
}

static uint32_t attribute(struct model *m, const char *name)
{
	char path[80], line[32] = "0";
	int fd;

	snprintf(path, sizeof(path), "/sys/block/vhd%d/%s", m->index, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 1)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return atoi(line);
}

static void check_depth(struct model *m)
{
	if (attribute(m, "vhd/depth") != m->nr)
		die("depth %u, expected %u", attribute(m, "vhd/depth"), m->nr);
	if (m->nr > m->deepest)
		m->deepest = m->nr;
}

static void go(struct model *m)
{
	char path[64];

	m->index = attach_chain(m->control, m->paths, m->nr, 0);
	if (m->index < 0)
		die("attach, depth %u: %s", m->nr, strerror(-m->index));
	snprintf(path, sizeof(path), "/dev/vhd%d", m->index);
	m->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (m->fd < 0)
		die("%s: %s", path, strerror(errno));
	m->attaches++;
	check_depth(m);
}

static void stop(struct model *m)
{
	int err;

	close(m->fd);
	err = detach_patiently(m->control, m->index);
	if (err)
		die("detach: %s", strerror(-err));
}

static void push(struct model *m, char *path)
{
	memmove(m->paths + 1, m->paths, m->nr * sizeof(*m->paths));
	m->paths[0] = path;
	m->nr++;
}

static void snapshot_offline(struct model *m)
{
	char *path = new_path(m);

	stop(m);
	make_image(path, m->sectors * 512ULL, block_size(m, 0), m->paths[0]);
	push(m, path);
	go(m);
}

static void snapshot_live(struct model *m)
{
	/* The size of requests' pieces stays what it was at attach. */
	uint32_t least = attribute(m, "queue/chunk_sectors") * 512;
	char *path = new_path(m);
	int64_t ret;

	make_image(path, m->sectors * 512ULL, block_size(m, least), m->paths[0]);
	ret = snapshot_to(m->control, m->index,
			  dice(m, 2) ? m->paths[0] : NULL, path);
	if (ret < 0)
		die("snapshot, depth %u: %s", m->nr, strerror(-ret));
	push(m, path);
	m->live_snapshots++;
	check_depth(m);
}

/* One request of any kind, looked at where that is possible. */
static void one_request(struct model *m)
{
	uint32_t first, n;

	switch (dice(m, 32)) {
	case 0 ... 1:
		if (fsync(m->fd))
			die("fsync: %s", strerror(errno));
		m->syncs++;
		break;
	case 2 ... 3:
		do_zero(m);
		break;
	case 4 ... 5:
		do_discard(m);
		break;
	case 6 ... 17:
		range(m, &first, &n);
		check_read(m, first, n);
		break;
	default:
		do_write(m);
	}
}

/* ---- with vhdctl --------------------------------------------------------- */

static pid_t start_tool(char *const argv[])
{
	pid_t pid = fork();
	int null;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid)
		return pid;
	null = open("/dev/null", O_WRONLY);
	dup2(null, STDOUT_FILENO);
	execvp(argv[0], argv);
	die("%s: %s", argv[0], strerror(errno));
}

static bool succeeded(int status)
{
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static bool run_tool(char *const argv[])
{
	pid_t pid = start_tool(argv);
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	return succeeded(status);
}

/* The layers [first, first + n) are no more, nor are their files. */
static void drop(struct model *m, uint32_t first, uint32_t n)
{
	uint32_t i;

	for (i = first; i < first + n; i++) {
		if (!access(m->paths[i], F_OK))
			die("%s is still there", m->paths[i]);
		free(m->paths[i]);
	}
	m->nr -= n;
	memmove(m->paths + first, m->paths + first + n,
		(m->nr - first) * sizeof(*m->paths));
}

/* Into the lowest image, which cannot be written: that must be said. */
static bool is_refused(struct model *m, uint32_t depth, bool done)
{
	bool refused = m->foreign && depth == m->nr - 1;

	if (done == refused)
		die("commit of %s, %u deep of %u: %s", m->paths[0], depth,
		    m->nr, done ? "done" : "refused");
	return refused;
}

/* While it goes on, the device is in use. */
static void commit_live(struct model *m)
{
	char device[32];
	char *argv[] = { "vhdctl", "-q", "commit", "--into", m->paths[1],
			 device, NULL };
	int status;
	pid_t pid;

	snprintf(device, sizeof(device), "/dev/vhd%d", m->index);
	pid = start_tool(argv);
	while (!waitpid(pid, &status, WNOHANG)) {
		one_request(m);
		m->during++;
	}
	if (is_refused(m, 1, succeeded(status)))
		return;
	drop(m, 0, 1);
	check_depth(m);
	m->live_commits++;
}

static void commit_offline(struct model *m)
{
	uint32_t depth = 1 + dice(m, dice(m, 8) ? 2 : 6);
	char number[16];
	char *argv[] = { "vhdctl", "-q", "commit", "--depth", number,
			 m->paths[0], NULL };

	if (depth >= m->nr)
		depth = m->nr - 1;
	snprintf(number, sizeof(number), "%u", depth);
	stop(m);
	if (!is_refused(m, depth, run_tool(argv))) {
		drop(m, 0, depth);
		m->commits++;
	}
	go(m);
}

/* Onto a layer further down; those between are not needed any more. */
static void rebase(struct model *m)
{
	uint32_t depth = 2 + dice(m, dice(m, 8) ? 2 : 8), i;
	char *argv[] = { "vhdctl", "-q", "rebase", "--parent", NULL,
			 m->paths[0], NULL };

	if (depth >= m->nr)
		depth = m->nr - 1;
	argv[4] = m->paths[depth];
	stop(m);
	if (!run_tool(argv))
		die("rebase of %s to %s failed", m->paths[0], argv[4]);
	for (i = 1; i < depth; i++)
		if (unlink(m->paths[i]))
			die("%s: %s", m->paths[i], strerror(errno));
	drop(m, 1, depth - 1);
	m->rebases++;
	go(m);
}

/* ---- a run ---------------------------------------------------------------- */

static void snapshot(struct model *m, bool live)
{
	if (m->nr >= m->depth)
		return;
	m->snapshots++;
	if (live)
		snapshot_live(m);
	else
		snapshot_offline(m);
}

static void step(struct model *m)
{
	switch (dice(m, 128)) {
	case 0 ... 1:
		stop(m);
		go(m);
		break;
	case 2 ... 6:
		snapshot(m, dice(m, 3));
		break;
	case 7 ... 8:
		if (m->nr > 1)
			commit_live(m);
		break;
	case 9:
		if (m->nr > 1)
			commit_offline(m);
		break;
	case 10:
		if (m->nr > 2)
			rebase(m);
		break;
	default:
		one_request(m);
	}
}

static void check_all(struct model *m)
{
	uint32_t first, n;

	for (first = 0; first < m->sectors; first += n) {
		n = m->sectors - first < MAX_IO ? m->sectors - first : MAX_IO;
		check_read(m, first, n);
	}
}

/* Fixed, of any block size that is written, or of one that is only read. */
static void make_base(struct model *m)
{
	static const uint32_t foreign[] = { 4096, 64 << 10, 128 << 10, 4 << 20 };
	uint32_t kind = dice(m, 4), block = 0;

	m->foreign = kind == 3;
	if (m->foreign)
		block = foreign[dice(m, 4)];
	else if (kind)
		block = block_size(m, 0);
	push(m, new_path(m));
	make_image(m->paths[0], m->sectors * 512ULL, block, NULL);
	printf("base: %s, blocks of %u KiB%s\n", kind ? "dynamic" : "fixed",
	       block >> 10, m->foreign ? ", read only" : "");
	if (!m->foreign)
		return;
	fill_foreign(m, block);
	push(m, new_path(m));
	make_image(m->paths[0], m->sectors * 512ULL, block_size(m, 0),
		   m->paths[1]);
}

static void report(const struct model *m)
{
	printf("%u writes, %u reads, %u zeroes, %u discards, %u flushes (%u of all during commits)\n",
	       m->writes, m->reads, m->zeroes, m->discards, m->syncs,
	       m->during);
	printf("%u snapshots (%u live), %u commits and %u live, %u rebases, %u attaches, depth %u, at most %u\n",
	       m->snapshots, m->live_snapshots, m->commits, m->live_commits,
	       m->rebases, m->attaches, m->nr, m->deepest);
}

static int cmd_model(int argc, char **argv)
{
	struct model *m = calloc(1, sizeof(*m));
	uint32_t n = atoi(argv[0]), first = argc > 4 ? atoi(argv[4]) : 1;

	m->state = strtoull(argv[1], NULL, 0) * 0x9E3779B97F4A7C15ULL;
	m->depth = atoi(argv[2]);
	m->dir = argv[3];
	m->control = open_control();
	if (m->depth > MAX_DEPTH || first > m->depth)
		die("at most %u layers", MAX_DEPTH);
	m->sectors = DISK_SECTORS - dice(m, 2000);
	if (posix_memalign((void **)&m->buf, 4096, MAX_IO * 512))
		die("no memory");
	make_base(m);
	go(m);
	check_all(m);
	while (m->nr < first) {
		do_write(m);
		snapshot(m, true);
	}
	while (n--)
		step(m);
	check_all(m);
	stop(m);
	go(m);
	check_all(m);
	stop(m);
	report(m);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && !strcmp(argv[1], "make")) {
		make_image(argv[2], atoi(argv[3]) * MIB, atoi(argv[4]) << 10,
			   argv[5]);
		return 0;
	}
	if (argc > 2 && !strcmp(argv[1], "attach"))
		return cmd_attach(argc - 1, argv + 1);
	if (argc > 2 && !strcmp(argv[1], "snapshot"))
		return cmd_snapshot(argc - 1, argv + 1);
	if (argc > 2 && !strcmp(argv[1], "commit"))
		return cmd_commit(argc - 1, argv + 1);
	if (argc >= 6 && !strcmp(argv[1], "model"))
		return cmd_model(argc - 2, argv + 2);
	die("usage: see the source");
}
