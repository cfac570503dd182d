// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * points [OPTION]... LOG: the states in which a power cut would have left the
 * disk, each made from the log, opened and looked at.  See usage().
 */
#include <getopt.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <linux/loop.h>

#include "records.h"
#include "log.h"
#include "vhdtest.h"
#include "check.h"
#include "layers.h"

extern char **environ;

#define PAGE		4096U
#define CHUNK		(64U * RECORD_SECTOR)

static const char usage_text[] =
	"usage: points [OPTION]... LOG\n"
	"\n"
	"  --points N      how many states (1000)\n"
	"  --seed N        which of the others (1)\n"
	"  --part I/N      only every Nth of them: for several processors\n"
	"  --fsck N        a full check of the file systems at every Nth (50)\n"
	"  --only E[:S]    only the state after entry E, with part S of what follows\n"
	"                  (of a mark: of what came since the last flush)\n"
	"  --disk SIZE     MiB of the disk (128)\n"
	"  --mount TYPE    in a guest with the module: mount the file system and attach\n"
	"  --records SPEC  NAME:SEED:THREADS:MIB:IMAGE[:files|:over=PARENT], repeatable\n"
	"                  (THREADS 0: look at the image's structure only)\n"
	"  --dir DIR       for the copies (/dev/shm)\n"
	"  --keep          leave the copy of a bad state there\n"
	"\n"
	"  --here DIR      no log, but what the writers said: the images in DIR\n";

/**
 * struct subject - an image and what must be in it
 * @files: the image holds an ext4 with files
 * @parent: the image that it is a differencing one of, or ""
 * @records: without threads: nothing is known but that the image is sound
 */
struct subject {
	char name[16];
	char image[64];
	char parent[64];
	struct records records;
	bool files;
};

/**
 * struct points - one run
 * @flushed: the last flush
 * @disk: the disk as the log has it up to that
 * @used: pages of @disk ever written
 * @copy: of @disk, that recovery may change; in the file @copy_path
 * @where: the state being looked at, in words
 */
struct points {
	struct log log;
	uint64_t size, flushed;
	uint8_t *disk, *copy;
	uint8_t *used;
	int copy_fd;
	char copy_path[256], scratch[256], second[256], why[512];
	const char *dir, *mount_type, *here;
	struct subject subjects[4];
	unsigned int nr_subjects, part, parts, fsck;
	uint64_t wanted, seed, only, only_part;
	bool only_one, keep;
	char where[128];
	uint64_t done, bad, fscks, sectors;
	char mountpoint[256];
};

static bool wrong(struct points *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static bool wrong(struct points *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->why, sizeof(p->why), format, args);
	va_end(args);
	return false;
}

/* ---- disks ------------------------------------------------------------------ */

static void *map_file(const char *path, uint64_t size, int *fd)
{
	void *map;

	*fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (*fd < 0 || ftruncate(*fd, size))
		die("%s: %s", path, strerror(errno));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return map;
}

static void apply(struct points *p, const struct log_entry *e)
{
	uint64_t page;

	log_apply(&p->log, e, p->disk, p->size, 0, e->len);
	if (!log_is_write(e))
		return;
	for (page = e->pos / PAGE; page <= (e->pos + e->len - 1) / PAGE; page++)
		p->used[page] = 1;
}

static void copy_page(struct points *p, uint64_t page)
{
	uint64_t pos = page * PAGE;

	if (memcmp(p->copy + pos, p->disk + pos, PAGE))
		memcpy(p->copy + pos, p->disk + pos, PAGE);
}

/* Only pages that differ are written: what recovery changed, what is new. */
static void refresh_copy(struct points *p)
{
	off_t pos = 0, end;
	uint64_t page;

	while ((pos = lseek(p->copy_fd, pos, SEEK_DATA)) >= 0) {
		end = lseek(p->copy_fd, pos, SEEK_HOLE);
		for (page = pos / PAGE; page < (uint64_t)end / PAGE; page++)
			copy_page(p, page);
		pos = end;
	}
	for (page = 0; page < p->size / PAGE; page++)
		if (p->used[page])
			copy_page(p, page);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t segment_end(const struct points *p, uint64_t at)
{
	while (at < p->log.nr && !(p->log.entries[at].flags & LOG_FLUSH))
		at++;
	return at;
}

/* All is durable that stands before the flush @end. */
static void apply_flushed(struct points *p, uint64_t end)
{
	for (; p->flushed < end; p->flushed++)
		apply(p, &p->log.entries[p->flushed]);
}

/* All writes from @at to before @end have arrived. */
static void apply_all(struct points *p, uint64_t at, uint64_t end)
{
	const struct log_entry *e;

	for (; at < end; at++) {
		e = &p->log.entries[at];
		log_apply(&p->log, e, p->copy, p->size, 0, e->len);
	}
}

/*
 * Of an ext4's superblock both sectors arrive, or none: they have one checksum, and
 * it is looked at before the journal is, so ext4 takes that for granted.
 */
static bool begins_superblock(const uint8_t *sector)
{
	return sector[56] == 0x53 && sector[57] == 0xef;
}

/* The first @n sectors of a write have arrived. */
static void apply_torn(struct points *p, const struct log_entry *e, uint64_t n)
{
	if (n && n < e->len / SECTOR) {
		log_apply(&p->log, e, p->copy, p->size, 0, n * SECTOR);
		if (begins_superblock(p->copy + e->pos + (n - 1) * SECTOR))
			n++;
	}
	log_apply(&p->log, e, p->copy, p->size, 0, n * SECTOR);
}

/*
 * Of the writes from @at to before @end, none of which a flush followed, @part says
 * which have arrived; of some only a few sectors.  Those with FUA have.
 */
static void apply_part(struct points *p, uint64_t at, uint64_t end, uint64_t part)
{
	uint64_t state = part * 0x9e3779b97f4a7c15ULL | 1;
	uint64_t random, sectors, cut;
	const struct log_entry *e;
	unsigned int percent;

	next_random(&state);
	percent = next_random(&state) % 100;
	for (; at < end; at++) {
		e = &p->log.entries[at];
		random = next_random(&state);
		if (!log_is_write(e))
			continue;
		sectors = e->len / SECTOR;
		cut = random >> 20 & 7 ? sectors : (random >> 24) % (sectors + 1);
		if (e->flags & LOG_FUA)
			cut = sectors;
		else if (random % 100 >= percent)
			continue;
		apply_torn(p, e, cut);
	}
}

/* ---- programs ----------------------------------------------------------------- */

/* Run it with its output in DIR/out.N; return its status. */
static int run(struct points *p, const char *const argv[], char *out,
	       size_t len)
{
	posix_spawn_file_actions_t files;
	char path[300];
	int status, fd;
	ssize_t n = 0;
	pid_t pid;

	snprintf(path, sizeof(path), "%s.out", p->scratch);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, path,
					 O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	if (posix_spawnp(&pid, argv[0], &files, NULL, (char **)argv, environ))
		die("cannot run %s", argv[0]);
	posix_spawn_file_actions_destroy(&files);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (out && len) {
		n = read(fd, out, len - 1);
		out[n > 0 ? n : 0] = 0;
	}
	close(fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/*
 * debugfs on an ext4 in a file, with these commands.  First the journal is replayed,
 * and not by debugfs: it looks at bitmaps before that, which may be torn.
 */
static bool debugfs(struct points *p, const char *fs, const char *commands)
{
	char path[300], out[4096];
	const char *replay[] = { "e2fsck", "-p", "-E", "journal_only", fs, NULL };
	const char *argv[] = { "debugfs", "-f", path, fs, NULL };
	FILE *f;

	if (run(p, replay, out, sizeof(out)) > 1)
		return wrong(p, "e2fsck -E journal_only: %s", out);
	snprintf(path, sizeof(path), "%s.cmd", p->scratch);
	f = fopen(path, "w");
	if (!f)
		die("%s: %s", path, strerror(errno));
	fputs(commands, f);
	fclose(f);
	if (run(p, argv, out, sizeof(out)))
		return wrong(p, "debugfs: %s", out);
	if (strstr(out, "not found") || strstr(out, "not open") || strstr(out, "orrupt"))
		return wrong(p, "debugfs: %s", strstr(out, "debugfs: dump") ?: out);
	return true;
}

/*
 * First what each mount does: the file that a write was making longer is an orphan,
 * and has blocks behind its end until it is truncated.
 */
static bool fsck_ext4(struct points *p, const char *fs)
{
	const char *orphans[] = { "e2fsck", "-p", fs, NULL };
	const char *argv[] = { "e2fsck", "-f", "-n", fs, NULL };
	char out[4096];

	p->fscks++;
	if (run(p, orphans, out, sizeof(out)) > 1)
		return wrong(p, "e2fsck -p %s: %s", fs, out);
	/* 1: something to be corrected; with -n it would be 4 */
	if (run(p, argv, out, sizeof(out)))
		return wrong(p, "e2fsck %s: %s", fs, out);
	return true;
}

/* ---- what must be there --------------------------------------------------------- */

typedef int (*read_fn)(void *from, void *buf, size_t len, uint64_t pos);

static int read_image(void *from, void *buf, size_t len, uint64_t pos)
{
	return vhd_file_read(from, buf, len, pos);
}

static int read_chain(void *from, void *buf, size_t len, uint64_t pos)
{
	return vhd_layers_read(from, 0, buf, len, pos);
}

static int read_device(void *from, void *buf, size_t len, uint64_t pos)
{
	return pread(*(int *)from, buf, len, pos) == (ssize_t)len ? 0 : -EIO;
}

static bool check_records(struct points *p, struct subject *s, read_fn read_from,
			  void *from)
{
	static uint8_t buf[CHUNK] __attribute__((aligned(4096)));
	struct records *r = &s->records;
	char why[256];
	uint32_t at, n;
	int err;

	for (at = 0; at < r->sectors; at += n) {
		n = CHUNK / SECTOR;
		if (n > r->sectors - at)
			n = r->sectors - at;
		err = read_from(from, buf, n * SECTOR, (uint64_t)at * SECTOR);
		if (err)
			return wrong(p, "%s: read at sector %u: %s", s->image, at,
				     strerror(-err));
		if (!records_check(r, at, n, buf, why, sizeof(why)))
			return wrong(p, "%s: %s", s->image, why);
		p->sectors += n;
	}
	return true;
}

static bool check_file(struct points *p, struct subject *s, const char *dir,
		       const char *prefix, uint32_t n)
{
	uint8_t buf[RECORD_SLOT * SECTOR], want[RECORD_SLOT * SECTOR];
	uint32_t sectors = records_file_sectors(&s->records, n);
	char path[400], name[32];
	ssize_t len;
	int fd;

	records_file_name(n, name, sizeof(name));
	snprintf(path, sizeof(path), "%s/%s%s", dir, prefix, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return wrong(p, "%s: %s was flushed: %s", s->image, name,
			     strerror(errno));
	len = read(fd, buf, sizeof(buf));
	close(fd);
	records_fill(&s->records, 0, n, 0, sectors, want);
	if (len != (ssize_t)(sectors * SECTOR) || memcmp(buf, want, len))
		return wrong(p, "%s: %s: %zd bytes that are not those flushed",
			     s->image, name, len);
	p->sectors += sectors;
	return true;
}

static bool check_files(struct points *p, struct subject *s, const char *dir,
			const char *prefix)
{
	uint32_t n;

	for (n = records_file_first(&s->records); n < s->records.durable[0]; n++)
		if (!check_file(p, s, dir, prefix, n))
			return false;
	return true;
}

/* Nothing worse than slack */
static bool check_findings(struct points *p, struct subject *s,
			   const struct vhd_check *c)
{
	const struct vhd_finding_info *info;
	unsigned int code;

	for (code = 0; code < VHD_NR_FINDINGS; code++) {
		info = vhd_finding_info(code);
		if (!c->counts[code] || code == VHD_FIND_SLACK)
			continue;
		if (info->severity > VHD_SEV_NOTE || info->policy > VHD_POLICY_INFO ||
		    code == VHD_FIND_BITMAP_CLEAR)
			return wrong(p, "%s: check finds %s", s->image, info->name);
	}
	return true;
}

/* Leaves @f loaded if it returns true. */
static bool check_image(struct points *p, struct subject *s, struct vhd_file *f,
			const char *path)
{
	static struct vhd_check c;
	int err;

	memset(&c, 0, sizeof(c));
	c.now = UINT32_MAX;
	err = vhd_file_open(f, path, false);
	if (!err)
		err = vhd_check(&c, f);
	if (err)
		return wrong(p, "%s: cannot be opened: %s", s->image,
			     strerror(-err));
	return check_findings(p, s, &c);
}

/* A layer of a differencing image; the chain's from now on. */
static bool check_layer(struct points *p, struct subject *s,
			struct vhd_layers *c, const char *path)
{
	struct vhd_file *f = calloc(1, sizeof(*f));
	bool ok;

	if (!f)
		die("no memory");
	f->fd = -1;
	ok = check_image(p, s, f, path);
	return !vhd_layers_push(c, f) && ok;
}

/* What the parent has shines through where the child has nothing, and only there. */
static bool check_over(struct points *p, struct subject *s, const char *path,
		       const char *parent)
{
	struct vhd_layers c;
	bool ok;

	vhd_layers_init(&c);
	ok = check_layer(p, s, &c, path) && check_layer(p, s, &c, parent) &&
	     check_records(p, s, read_chain, &c);
	vhd_layers_close(&c);
	return ok;
}

/* ---- offline: ext4 below, read by debugfs ---------------------------------------- */

/* The image's content into a file; the file system there is then read. */
static bool extract(struct points *p, struct subject *s, struct vhd_file *f)
{
	static uint8_t buf[1 << 20];
	uint64_t pos, size = f->image.disk_size;
	int fd = open(p->second, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct vhd_extent ext;
	size_t len;
	bool ok = true;

	if (fd < 0 || ftruncate(fd, size))
		die("%s: %s", p->second, strerror(errno));
	for (pos = 0; ok && pos < size; pos += len) {
		len = size - pos < sizeof(buf) ? size - pos : sizeof(buf);
		if (!vhd_file_map(f, pos / SECTOR, len / SECTOR, &ext) &&
		    ext.kind == VHD_MAP_ZERO &&
		    ext.sectors * SECTOR >= len)
			continue;
		ok = !vhd_file_read(f, buf, len, pos) &&
		     pwrite(fd, buf, len, pos) == (ssize_t)len;
	}
	close(fd);
	return ok || wrong(p, "%s: cannot be read", s->image);
}

static bool check_inner_fs(struct points *p, struct subject *s,
			   struct vhd_file *f, bool fsck)
{
	char commands[RECORD_FILES * 400], name[32];
	uint32_t n = records_file_first(&s->records);
	size_t at = 0;

	commands[0] = 0;
	for (; n < s->records.durable[0]; n++) {
		records_file_name(n, name, sizeof(name));
		at += snprintf(commands + at, sizeof(commands) - at,
			       "dump /%s %s.%s\n", name, p->scratch, name);
	}
	return extract(p, s, f) && debugfs(p, p->second, commands) &&
	       check_files(p, s, p->dir, "image.") &&
	       (!fsck || fsck_ext4(p, p->second));
}

/* The first image every time; the others take longer and take turns. */
static bool has_turn(const struct points *p, unsigned int i, bool fsck)
{
	return !i || fsck || p->only_one || p->done % p->nr_subjects == i;
}

static bool check_subject(struct points *p, struct subject *s, bool fsck)
{
	struct vhd_file f = { .fd = -1 };
	char path[400], parent[400];
	bool ok;

	snprintf(path, sizeof(path), "%s.%s", p->scratch, s->name);
	snprintf(parent, sizeof(parent), "%s.%s.below", p->scratch, s->name);
	if (s->parent[0])
		return check_over(p, s, path, parent);
	ok = check_image(p, s, &f, path);
	if (ok && s->records.sectors)
		ok = check_records(p, s, read_image, &f);
	else if (ok && s->files)
		ok = check_inner_fs(p, s, &f, fsck);
	vhd_file_close(&f);
	return ok;
}

static void dump_subject(const struct points *p, const struct subject *s,
			 FILE *to)
{
	fprintf(to, "dump /%s %s.%s\n", s->image, p->scratch, s->name);
	if (s->parent[0])
		fprintf(to, "dump /%s %s.%s.below\n", s->parent, p->scratch,
			s->name);
}

static bool check_offline(struct points *p, bool fsck)
{
	char commands[4096] = "";
	FILE *to = fmemopen(commands, sizeof(commands), "w");
	unsigned int i;

	if (!to)
		die("no memory");
	for (i = 0; i < p->nr_subjects; i++)
		if (has_turn(p, i, fsck))
			dump_subject(p, &p->subjects[i], to);
	fclose(to);
	if (!debugfs(p, p->copy_path, commands))
		return false;
	if (fsck && !fsck_ext4(p, p->copy_path))
		return false;
	for (i = 0; i < p->nr_subjects; i++)
		if (has_turn(p, i, fsck) &&
		    !check_subject(p, &p->subjects[i], fsck))
			return false;
	return true;
}

/* ---- in a guest: the kernel's file system, and the module ------------------------ */

/*
 * Return: a descriptor that keeps it.  For reading: a device that somebody has
 * open for writing may not be mounted everywhere.
 */
static int loop_setup(const char *path, char *device, size_t len)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { };
	int nr = ioctl(control, LOOP_CTL_GET_FREE), loop, file, held;

	if (nr < 0)
		die("no loop device: %s", strerror(errno));
	snprintf(device, len, "/dev/loop%d", nr);
	loop = open(device, O_RDWR | O_CLOEXEC);
	file = open(path, O_RDWR | O_CLOEXEC);
	config.fd = file;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	if (loop < 0 || file < 0 || ioctl(loop, LOOP_CONFIGURE, &config))
		die("%s: %s", device, strerror(errno));
	held = open(device, O_RDONLY | O_CLOEXEC);
	close(loop);
	close(file);
	close(control);
	return held;
}

static bool check_device(struct points *p, struct subject *s, int index)
{
	char device[64], dir[300];
	bool ok;
	int fd;

	snprintf(device, sizeof(device), "/dev/vhd%d", index);
	if (s->records.sectors) {
		fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			return wrong(p, "%s: %s", device, strerror(errno));
		ok = check_records(p, s, read_device, &fd);
		close(fd);
		return ok;
	}
	if (!s->files)
		return true;
	snprintf(dir, sizeof(dir), "%s.in", p->mountpoint);
	mkdir(dir, 0700);
	if (mount(device, dir, "ext4", 0, ""))
		return wrong(p, "%s: mount: %s", s->image, strerror(errno));
	ok = check_files(p, s, dir, "");
	if (umount(dir))
		die("umount: %s", strerror(errno));
	return ok;
}

/* The image, and its records where they can be told: before it was recovered too. */
static bool check_detached(struct points *p, struct subject *s, bool records)
{
	struct vhd_file f = { .fd = -1 };
	char path[400], parent[400];
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", p->mountpoint, s->image);
	snprintf(parent, sizeof(parent), "%s/%s", p->mountpoint, s->parent);
	if (s->parent[0])
		return check_over(p, s, path, parent);
	ok = check_image(p, s, &f, path) &&
	     (!records || check_records(p, s, read_image, &f));
	vhd_file_close(&f);
	return ok;
}

/* Return: 0 or a negative errno. */
static int attach_subject(struct points *p, struct subject *s, int control,
			  struct vhd_attach_args *args)
{
	char path[400];
	int fds[2], err;

	snprintf(path, sizeof(path), "%s/%s", p->mountpoint, s->image);
	fds[0] = open(path, O_RDWR | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/%s", p->mountpoint, s->parent);
	fds[1] = s->parent[0] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	*args = (struct vhd_attach_args){
		.size = sizeof(*args),
		.flags = VHD_ATTACH_NO_PARTSCAN,
		.fds = (uintptr_t)fds,
		.nr_layers = s->parent[0] ? 2 : 1,
		.index = -1,
	};
	err = ioctl(control, VHD_IOC_ATTACH, args) ? -errno : 0;
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	return err;
}

static bool check_attached(struct points *p, struct subject *s, int control)
{
	struct vhd_attach_args args;
	int err;
	bool ok;

	if (!check_detached(p, s, false))
		return false;
	err = attach_subject(p, s, control, &args);
	if (err)
		return wrong(p, "%s: attach: %s", s->image, strerror(-err));
	ok = check_device(p, s, args.index);
	err = detach_patiently(control, args.index);
	if (ok && err)
		return wrong(p, "%s: detach: %s", s->image, strerror(-err));
	/* Detached, it is clean, and still holds it all. */
	return ok && check_detached(p, s, s->records.sectors);
}

static bool check_mounted(struct points *p)
{
	const char *options = strcmp(p->mount_type, "xfs") ? "" : "nouuid";
	int control = open_control();
	char device[64];
	unsigned int i;
	bool ok = true;
	int loop;

	loop = loop_setup(p->copy_path, device, sizeof(device));
	mkdir(p->mountpoint, 0700);
	if (mount(device, p->mountpoint, p->mount_type, 0, options)) {
		ok = wrong(p, "mount: %s", strerror(errno));
	} else {
		for (i = 0; ok && i < p->nr_subjects; i++)
			ok = check_attached(p, &p->subjects[i], control);
		if (umount(p->mountpoint))
			die("umount: %s", strerror(errno));
	}
	close(loop);
	close(control);
	return ok;
}

/* ---- points ------------------------------------------------------------------------ */

static void keep(struct points *p)
{
	char path[300];

	snprintf(path, sizeof(path), "%s.bad", p->copy_path);
	if (p->keep && !rename(p->copy_path, path))
		printf("kept: %s\n", path);
	munmap(p->copy, p->size);
	close(p->copy_fd);
	p->copy = map_file(p->copy_path, p->size, &p->copy_fd);
}

static bool is_flush(const struct log_entry *e)
{
	return e->flags & LOG_FLUSH;
}

static bool is_mark(const struct log_entry *e)
{
	return e->flags & LOG_MARK;
}

/*
 * What a mark says is durable must be there with any part of what came since the
 * last flush: it must have come before that.
 */
static void make_state(struct points *p, uint64_t after, uint64_t part)
{
	refresh_copy(p);
	if (!part)
		apply_all(p, p->flushed, after + 1);
	else if (is_mark(&p->log.entries[after]))
		apply_part(p, p->flushed, after, part);
	else
		apply_part(p, after + 1, segment_end(p, after + 1), part);
}

static const char *state_name(const struct log_entry *e, uint64_t part)
{
	if (is_mark(e))
		return e->mark;
	return part ? "part of what follows" : is_flush(e) ? "flush" : "between";
}

static void check_point(struct points *p, uint64_t after, uint64_t part)
{
	bool fsck = p->fsck && p->done % p->fsck == 0;

	make_state(p, after, part);
	p->done++;
	if (p->mount_type ? check_mounted(p) : check_offline(p, fsck))
		return;
	p->bad++;
	printf("--only %llu:%llu (%s): %s\n", (unsigned long long)after,
	       (unsigned long long)part,
	       state_name(&p->log.entries[after], part), p->why);
	keep(p);
	if (p->bad >= 10)
		die("enough");
}

static void take_mark(struct points *p, const char *mark)
{
	unsigned int i;

	for (i = 0; i < p->nr_subjects; i++)
		if (records_hear(&p->subjects[i].records, p->subjects[i].name,
				 mark))
			return;
}

/* How often to look, so that it makes about as many points as wanted */
struct pace {
	uint64_t flushes, others, marks, start;
	double flush, between, mark, part;
};

static void find_pace(const struct points *p, struct pace *pace)
{
	uint64_t i;

	memset(pace, 0, sizeof(*pace));
	for (i = 0; i < p->log.nr; i++)
		if (!strcmp(p->log.entries[i].mark, "begin"))
			pace->start = i;
	if (!pace->start)
		die("the log has no mark \"begin\"");
	for (i = pace->start; i < p->log.nr; i++) {
		if (is_flush(&p->log.entries[i]))
			pace->flushes++;
		else if (is_mark(&p->log.entries[i]))
			pace->marks++;
		else if (log_is_write(&p->log.entries[i]))
			pace->others++;
	}
	if (pace->flushes < 10)
		die("the log has %llu flushes", (unsigned long long)pace->flushes);
	/* A quarter each; the state after a flush is one. */
	pace->flush = p->wanted / 4.0 / pace->flushes;
	if (pace->flush > 1)
		pace->flush = 1;
	pace->between = p->wanted / 4.0 / (pace->others ?: 1);
	pace->mark = p->wanted / 4.0 / (pace->marks ?: 1);
	pace->part = (p->wanted / 2.0 - pace->flush * pace->flushes) /
		     pace->flushes;
}

static bool chance(uint64_t *state, double probability)
{
	return (next_random(state) >> 11) * 0x1p-53 < probability;
}

/* The same points whichever part of them this process looks at */
static bool mine(const struct points *p, uint64_t *number)
{
	return (*number)++ % p->parts == p->part;
}

/* @n of them, about */
static void parts_at(struct points *p, uint64_t at, double n, uint64_t *state,
		     uint64_t *number)
{
	for (; n > 0; n -= 1)
		if (chance(state, n) && mine(p, number))
			check_point(p, at, next_random(state) % 1000000 + 1);
}

static void points_at(struct points *p, const struct pace *pace, uint64_t at,
		      uint64_t *state, uint64_t *number)
{
	const struct log_entry *e = &p->log.entries[at];

	if (p->only_one) {
		if (at == p->only)
			check_point(p, at, p->only_part);
		return;
	}
	if (is_flush(e)) {
		if (chance(state, pace->flush) && mine(p, number))
			check_point(p, at, 0);
		parts_at(p, at, pace->part, state, number);
	} else if (is_mark(e)) {
		parts_at(p, at, pace->mark, state, number);
	} else if (log_is_write(e)) {
		if (chance(state, pace->between) && mine(p, number))
			check_point(p, at, 0);
	}
}

static void all_points(struct points *p)
{
	uint64_t state = p->seed * 0x9e3779b97f4a7c15ULL | 1, number = 0, i;
	struct pace pace;

	find_pace(p, &pace);
	for (i = 0; i < p->log.nr; i++) {
		if (is_flush(&p->log.entries[i]))
			apply_flushed(p, i + 1);
		take_mark(p, p->log.entries[i].mark);
		if (i > pace.start)
			points_at(p, &pace, i, &state, &number);
	}
	if (!p->part)
		printf("the log: %llu writes, %llu flushes\n",
		       (unsigned long long)pace.others,
		       (unsigned long long)pace.flushes);
}

/* ---- after a cut that really was ---------------------------------------------------- */

/* What the writers said, as far as it came through: lines of them and of others */
static void read_told(struct points *p, const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];

	if (!f)
		die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (strchr(line, '\n'))
			take_mark(p, line);
	fclose(f);
}

static int check_here(struct points *p, const char *told)
{
	int control = open_control();
	unsigned int i;

	read_told(p, told);
	for (i = 0; i < p->nr_subjects; i++) {
		if (check_attached(p, &p->subjects[i], control))
			continue;
		printf("BAD: %s\n", p->why);
		return 1;
	}
	printf("good: %llu sectors read\n", (unsigned long long)p->sectors);
	return 0;
}

/* ---- arguments ---------------------------------------------------------------------- */

static void add_subject(struct points *p, const char *spec)
{
	struct subject *s = &p->subjects[p->nr_subjects++];
	unsigned long long seed;
	unsigned int threads, mib;
	char kind[80] = "";

	if (p->nr_subjects > ARRAY_SIZE(p->subjects) ||
	    sscanf(spec, "%15[^:]:%llu:%u:%u:%63[^:]:%79s", s->name, &seed,
		   &threads, &mib, s->image, kind) < 5 ||
	    threads > RECORD_THREADS)
		die("--records %s?", spec);
	s->files = !strcmp(kind, "files");
	sscanf(kind, "over=%63s", s->parent);
	records_init(&s->records, seed, threads,
		     s->files || !threads ? 0 : mib * 2048);
}

static void options(struct points *p, int argc, char **argv)
{
	static const struct option table[] = {
		{ "points", 1, NULL, 'p' }, { "seed", 1, NULL, 's' },
		{ "part", 1, NULL, 'i' }, { "fsck", 1, NULL, 'f' },
		{ "only", 1, NULL, 'o' }, { "disk", 1, NULL, 'd' },
		{ "mount", 1, NULL, 'm' }, { "records", 1, NULL, 'r' },
		{ "dir", 1, NULL, 't' }, { "here", 1, NULL, 'H' }, { "keep", 0, NULL, 'k' },
		{ "help", 0, NULL, 'h' }, { },
	};
	unsigned long long entry, part = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (c) {
		case 'p': p->wanted = strtoull(optarg, NULL, 0); break;
		case 's': p->seed = strtoull(optarg, NULL, 0); break;
		case 'i':
			if (sscanf(optarg, "%u/%u", &p->part, &p->parts) != 2)
				die("--part %s?", optarg);
			break;
		case 'f': p->fsck = strtoul(optarg, NULL, 0); break;
		case 'o':
			if (sscanf(optarg, "%llu:%llu", &entry, &part) < 1)
				die("--only %s?", optarg);
			p->only = entry;
			p->only_part = part;
			p->only_one = true;
			break;
		case 'd': p->size = strtoull(optarg, NULL, 0) << 20; break;
		case 'm': p->mount_type = optarg; break;
		case 'r': add_subject(p, optarg); break;
		case 't': p->dir = optarg; break;
		case 'k': p->keep = true; break;
		case 'H': p->here = optarg; break;
		case 'h': fputs(usage_text, stdout); exit(0);
		default: fputs(usage_text, stderr); exit(2);
		}
	}
	if (argc - optind != 1 || !p->nr_subjects) {
		fputs(usage_text, stderr);
		exit(2);
	}
	if (!p->here)
		log_open(&p->log, argv[optind]);
}

int main(int argc, char **argv)
{
	static struct points p = {
		.wanted = 1000, .seed = 1, .parts = 1, .fsck = 50,
		.size = 128 << 20, .dir = "/dev/shm",
	};
	char own[300];

	options(&p, argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (p.here) {
		snprintf(p.mountpoint, sizeof(p.mountpoint), "%.200s", p.here);
		return check_here(&p, argv[optind]);
	}
	snprintf(own, sizeof(own), "%s/vhd-crash.XXXXXX", p.dir);
	if (!mkdtemp(own))
		die("%s: %s", own, strerror(errno));
	p.dir = own;
	snprintf(p.copy_path, sizeof(p.copy_path), "%.200s/disk", own);
	snprintf(p.scratch, sizeof(p.scratch), "%.200s/image", own);
	snprintf(p.second, sizeof(p.second), "%.200s/inner", own);
	snprintf(p.mountpoint, sizeof(p.mountpoint), "%.200s/mnt", own);
	p.disk = mmap(NULL, p.size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	p.used = calloc(p.size / PAGE, 1);
	if (p.disk == MAP_FAILED || !p.used)
		die("no memory");
	p.copy = map_file(p.copy_path, p.size, &p.copy_fd);
	all_points(&p);
	printf("%llu points, %llu bad, %llu file system checks, %llu sectors read\n",
	       (unsigned long long)p.done, (unsigned long long)p.bad,
	       (unsigned long long)p.fscks, (unsigned long long)p.sectors);
	if (!p.bad || !p.keep) {
		const char *rm[] = { "rm", "-rf", own, NULL };
		char *const *args = (char *const *)rm;
		pid_t pid;

		if (!posix_spawnp(&pid, "rm", NULL, NULL, args, environ))
			waitpid(pid, NULL, 0);
	}
	return p.bad ? 1 : 0;
}
