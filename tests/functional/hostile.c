// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hostile: images that nobody should make, attached by ioctl, without vhdctl's
 * look at them first.
 *
 *	hostile list DIRECTORY < LIST
 *		LIST is what tests/evil/run.py --make prints; DIRECTORY has the
 *		images, each of which is removed when it is done with
 *	hostile fuzz SECONDS SEED DIRECTORY IMAGE[+PARENT]...
 *		random mutations of these images; SEED:N begins with the Nth.
 *		A PARENT is attached below, as it is
 *
 * Each image is attached read-only and read-write, by force where that is refused,
 * and by its geometry; the device is read and written from end to end, detached,
 * and looked at again: what was written is there, and vhdctl check finds no
 * damage.  Of an image that is refused, or attached read-only, no byte changes.
 * Memory is bounded.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

#include <linux/fs.h>

#include "vhdtest.h"

#define CHUNK		(256U << 10)
/* As much of a device is read and written at its beginning and at its end. */
#define WHOLE		(8ULL << 20)
/* What an attached device may take of the kernel's memory. */
#define MEMORY_KIB	(64L << 10)
#define SLOW		20	/* seconds for one image */

extern char **environ;

static int control, failures;
static const char *now;		/* the image at hand */
static const char *parent;	/* and what is below it, or NULL */
static uint8_t *buf, *want;

static void __attribute__((format(printf, 1, 2))) bad(const char *format, ...)
{
	va_list args;

	printf("%s: ", now);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	failures++;
}

/* ---- the file ------------------------------------------------------------ */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9E3779B97F4A7C15ULL;
	return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, const uint8_t *p, size_t len)
{
	uint64_t v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		h = mix(h, v);
	}
	for (; len; p++, len--)
		h = mix(h, *p);
	return h;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

/* Size and content; whether zeros are a hole changes as they are written back. */
static uint64_t digest(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t pos, end = 0, size;
	uint64_t h;
	ssize_t n;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	size = lseek(fd, 0, SEEK_END);
	h = mix(1, size);
	while ((pos = lseek(fd, end, SEEK_DATA)) >= 0 && pos < size) {
		end = lseek(fd, pos, SEEK_HOLE);
		for (pos &= ~4095LL; pos < end; pos += n) {
			n = pread(fd, want, 4096, pos);
			if (n <= 0)
				die("%s: %s", path, strerror(errno));
			if (!all_zero(want, n))
				h = mix(mix_bytes(h, want, n), pos);
		}
		end = pos;
	}
	close(fd);
	return h;
}

/* ---- the machine --------------------------------------------------------- */

static long kernel_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char name[64];
	long kib, sum = 0;

	if (!file)
		die("/proc/meminfo: %s", strerror(errno));
	while (fscanf(file, "%63s %ld%*[^\n]", name, &kib) == 2)
		if (!strcmp(name, "Slab:") || !strcmp(name, "VmallocUsed:"))
			sum += kib;
	fclose(file);
	return sum;
}

static int run_check(const char *path)
{
	char *argv[] = { "vhdctl", "check", "-q", (char *)path, NULL };
	posix_spawn_file_actions_t quiet;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, "vhdctl", &quiet, NULL, argv, environ) ||
	    waitpid(pid, &status, 0) < 0)
		die("vhdctl does not run");
	posix_spawn_file_actions_destroy(&quiet);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- the device ---------------------------------------------------------- */

/* The next chunk of what is looked at: the middle of large devices is not. */
static uint64_t next_chunk(uint64_t pos, uint64_t size)
{
	pos += CHUNK;
	if (size > 2 * WHOLE && pos >= WHOLE && pos < size - WHOLE)
		pos = (size - WHOLE) & ~(uint64_t)(CHUNK - 1);
	return pos;
}

static size_t chunk_at(uint64_t pos, uint64_t size)
{
	return size - pos < CHUNK ? size - pos : CHUNK;
}

static void stamp(uint64_t seed, uint64_t pos, size_t len)
{
	uint64_t *words = (uint64_t *)want;
	size_t i;

	for (i = 0; i < len / 8; i++)
		words[i] = mix(seed, pos / 8 + i);
}

static void read_all(int fd, uint64_t size)
{
	uint64_t pos;
	ssize_t n;

	for (pos = 0; pos < size; pos = next_chunk(pos, size)) {
		n = pread(fd, buf, chunk_at(pos, size), pos);
		if (n < 0 && errno != EIO)
			bad("read at %llu: %s", (unsigned long long)pos,
			    strerror(errno));
		if (!n)
			bad("read at %llu: the end", (unsigned long long)pos);
	}
}

static void write_all(int fd, uint64_t size, uint64_t seed)
{
	uint64_t pos;
	size_t len;

	for (pos = 0; pos < size; pos = next_chunk(pos, size)) {
		len = chunk_at(pos, size);
		stamp(seed, pos, len);
		if (pwrite(fd, want, len, pos) != (ssize_t)len)
			bad("write at %llu: %s", (unsigned long long)pos,
			    strerror(errno));
	}
	if (fsync(fd))
		bad("fsync: %s", strerror(errno));
}

static void verify_all(int fd, uint64_t size, uint64_t seed)
{
	uint64_t pos;
	size_t len;

	for (pos = 0; pos < size; pos = next_chunk(pos, size)) {
		len = chunk_at(pos, size);
		stamp(seed, pos, len);
		if (pread(fd, buf, len, pos) != (ssize_t)len ||
		    memcmp(buf, want, len))
			bad("at %llu is not what was written there",
			    (unsigned long long)pos);
	}
}

/* What to do with an attached device, @seed being that of what is written. */
enum use { USE_READ, USE_WRITE, USE_VERIFY };

static void use_device(const struct vhd_attach_args *args, enum use use,
		       uint64_t seed)
{
	int fd = open_device(args, (use == USE_WRITE ? O_RDWR : O_RDONLY) |
			     O_DIRECT);
	uint64_t size = 0;

	if (fd < 0) {
		bad("/dev/vhd%d: %s", args->index, strerror(-fd));
		return;
	}
	if (ioctl(fd, BLKGETSIZE64, &size) || !size || size % SECTOR)
		bad("a device of %llu bytes", (unsigned long long)size);
	if (use != USE_VERIFY)
		read_all(fd, size);
	if (use == USE_WRITE)
		write_all(fd, size, seed);
	if (use != USE_READ)
		verify_all(fd, size, seed);
	close(fd);
}

static bool known_refusal(int err)
{
	return err == -EMEDIUMTYPE || err == -EUCLEAN || err == -EROFS ||
	       err == -ENXIO;
}

static int attach_layers(int image, uint32_t flags,
			 struct vhd_attach_args *args)
{
	int32_t fds[2] = { image, -1 };
	int err;

	if (!parent)
		return attach_fd(control, image, flags, args);
	fds[1] = open(parent, O_RDONLY | O_CLOEXEC);
	if (fds[1] < 0)
		die("%s: %s", parent, strerror(errno));
	*args = (struct vhd_attach_args){
		.size = sizeof(*args),
		.flags = flags,
		.fds = (uintptr_t)fds,
		.nr_layers = 2,
		.index = -1,
	};
	err = ioctl(control, VHD_IOC_ATTACH, args) ? -errno : 0;
	close(fds[1]);
	return err;
}

/* Attach, use, detach.  Return: 0, or why it was refused. */
static int attach_once(const char *path, uint32_t flags, enum use use,
		       uint64_t seed)
{
	bool read_only = flags & VHD_ATTACH_READ_ONLY;
	int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	long before = kernel_memory(), after;
	struct vhd_attach_args args;
	int err;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	err = attach_layers(fd, flags, &args);
	close(fd);
	after = kernel_memory();
	if (after - before > MEMORY_KIB)
		bad("attach takes %ld KiB", after - before);
	if (err) {
		if (!known_refusal(err))
			bad("flags %#x: %s", flags, strerror(-err));
		return err;
	}
	use_device(&args, use, seed);
	err = detach_patiently(control, args.index);
	if (err)
		bad("flags %#x: detach: %s", flags, strerror(-err));
	return 0;
}

/* So that no byte of the file changes. */
static int attach_unchanged(const char *path, uint32_t flags, enum use use,
			    uint64_t seed)
{
	uint64_t before = digest(path);
	int err = attach_once(path, flags, use, seed);

	if (digest(path) != before)
		bad("flags %#x: the file was changed", flags);
	return err;
}

/*
 * Read-write: a refusal changes nothing; else what was written is there when the
 * image is attached again, and nothing is wrong with it.
 */
static int attach_writing(const char *path, uint32_t flags, uint64_t seed)
{
	uint64_t before = digest(path);
	int err = attach_once(path, flags, USE_WRITE, seed);
	int status;

	if (err) {
		if (digest(path) != before)
			bad("refused, but the file was changed");
		return err;
	}
	status = run_check(path);
	if (status != 0 && status != 3)
		bad("vhdctl check says %d after writing", status);
	err = attach_unchanged(path, flags | VHD_ATTACH_READ_ONLY, USE_VERIFY,
			       seed);
	if (err)
		bad("attached again: %s", strerror(-err));
	return 0;
}

/* ---- a list -------------------------------------------------------------- */

static const char *outcome(int rw, int ro)
{
	return !rw ? "read-write" : !ro ? "read-only" : "refused";
}

static void one_image(const char *path, const char *stated)
{
	const uint32_t ro = VHD_ATTACH_READ_ONLY;
	double start = seconds();
	int rw_err, ro_err;

	ro_err = attach_unchanged(path, ro, USE_READ, 0);
	if (ro_err)
		attach_unchanged(path, ro | VHD_ATTACH_FORCE, USE_READ, 0);
	attach_unchanged(path, ro | VHD_ATTACH_SIZE_CHS |
			 VHD_ATTACH_NO_PARTSCAN, USE_READ, 0);
	rw_err = attach_writing(path, 0, 1);
	if (strcmp(outcome(rw_err, ro_err), stated))
		bad("%s (%s, %s), stated: %s", outcome(rw_err, ro_err),
		    strerror(-rw_err), strerror(-ro_err), stated);
	if (rw_err)
		attach_writing(path, VHD_ATTACH_FORCE | VHD_ATTACH_DIO_OFF, 2);
	if (seconds() - start > SLOW)
		bad("took %.0f s", seconds() - start);
}

static int list_images(const char *directory)
{
	char name[100], stated[20], path[4096];
	int n = 0, counts[3] = { 0 };

	while (scanf("%99s %*s %19s %*s", name, stated) == 2) {
		snprintf(path, sizeof(path), "%s/%s.vhd", directory, name);
		now = name;
		one_image(path, stated);
		unlink(path);
		counts[stated[0] == 'r' && stated[2] == 'f' ? 0 :
		       stated[5] == 'w' ? 2 : 1]++;
		n++;
	}
	printf("%d images (%d refused, %d read-only, %d read-write), %d bad\n",
	       n, counts[0], counts[1], counts[2], failures);
	return n ? 0 : 1;
}

/* ---- mutations ----------------------------------------------------------- */

struct base {
	uint8_t *data;
	size_t size;
	const char *parent;
	uint64_t parent_digest;
};

static uint64_t dice_state;

static uint64_t dice64(void)
{
	dice_state += 0x9E3779B97F4A7C15ULL;
	return mix(mix(dice_state, 7), 77);
}

static uint32_t dice(uint32_t n)
{
	return n ? (dice64() >> 20) % n : 0;
}

/* An image being changed: a copy of a base, and where its structures lie. */
static struct {
	uint8_t *data;
	size_t size;
	size_t tail, header, table;
	uint32_t entries;
} image;

static uint32_t get32(size_t at)
{
	uint32_t v;

	memcpy(&v, image.data + at, 4);
	return be32toh(v);
}

static void put(size_t at, uint64_t value, unsigned int bytes)
{
	while (bytes--) {
		if (at + bytes < image.size)
			image.data[at + bytes] = value;
		value >>= 8;
	}
}

static void take_base(const struct base *base)
{
	image.size = base->size;
	memcpy(image.data, base->data, base->size);
	image.tail = image.size - 512;
	image.header = get32(image.tail + 20);
	if (image.header > image.size - 1024)
		image.header = 0;	/* fixed */
	image.table = image.header ? get32(image.header + 20) : 0;
	image.entries = image.header ? get32(image.header + 28) : 0;
}

static uint64_t interesting(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 4, 511, 512, 513, 1023, 1536, 0x7FFFFFFF,
		0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000ULL,
		0x7FFFFFFFFFFFFFFFULL, 0x8000000000000000ULL,
		0xFFFFFFFFFFFFFE00ULL, 0xFFFFFFFFFFFFFFFFULL, 524288, 2097152,
		0x01FFFFFFFE00ULL,
	};

	switch (dice(4)) {
	case 0:
		return dice64() >> dice(64);
	case 1:
		return image.size / 512 + dice(5) - 2;
	default:
		return values[dice(ARRAY_SIZE(values))];
	}
}

static void change_field(size_t at, const uint8_t (*fields)[2], uint32_t n,
			 size_t other)
{
	uint32_t i = dice(n);
	uint64_t value = interesting();

	put(at + fields[i][0] * 4, value, fields[i][1]);
	if (other != at && dice(4))
		put(other + fields[i][0] * 4, value, fields[i][1]);
}

/* Offsets in words of 4 bytes, and bytes. */
static const uint8_t footer_fields[][2] = {
	{ 0, 8 }, { 2, 4 }, { 3, 4 }, { 4, 8 }, { 6, 4 }, { 7, 4 }, { 10, 8 },
	{ 12, 8 }, { 12, 8 }, { 14, 4 }, { 15, 4 }, { 15, 4 }, { 16, 4 },
	{ 17, 8 }, { 21, 1 }, { 4, 8 },
};
static const uint8_t header_fields[][2] = {
	{ 0, 8 }, { 2, 8 }, { 4, 8 }, { 4, 8 }, { 6, 4 }, { 7, 4 }, { 7, 4 },
	{ 8, 4 }, { 8, 4 }, { 9, 4 }, { 10, 8 }, { 144, 4 }, { 145, 4 },
	{ 146, 4 }, { 148, 8 },
};

static void change_entry(void)
{
	uint32_t n = image.entries < 64 ? image.entries : 64;
	uint32_t value = get32(image.table + 4 * dice(n));

	if (dice(2))
		value += dice(9) - 4;
	if (!dice(3))
		value = interesting();
	put(image.table + 4 * dice(n), value, 4);
}

static void change_bytes(size_t at, size_t len)
{
	uint32_t n = 1 + dice(8);

	while (n--)
		put(at + dice(len), dice64(), 1);
}

static void change_bitmap(void)
{
	uint32_t n = image.entries < 64 ? image.entries : 64;
	uint32_t entry = get32(image.table + 4 * dice(n));

	if (entry < image.size / 512)
		change_bytes((size_t)entry * 512, 512);
}

static void change_size(void)
{
	uint32_t by = dice(2) ? dice(2048) : 512 * dice(64);

	if (dice(2)) {
		image.size -= by < image.size ? by : image.size;
	} else {
		memset(image.data + image.size, dice(2) ? 0xC7 : 0, by);
		image.size += by;
	}
}

static void mutate(void)
{
	switch (dice(image.header ? 12 : 4)) {
	case 0:
	case 1:
		change_field(dice(2) ? image.tail : 0, footer_fields,
			     ARRAY_SIZE(footer_fields),
			     dice(2) ? image.tail : 0);
		break;
	case 2:
		change_bytes(dice(2) ? image.tail : 0, 512);
		break;
	case 3:
		change_size();
		break;
	case 4 ... 6:
		change_field(image.header, header_fields,
			     ARRAY_SIZE(header_fields), image.header);
		break;
	case 7:
		change_bytes(image.header, 1024);
		break;
	case 8:
		change_bitmap();
		break;
	default:
		change_entry();
	}
}

static void seal(size_t at, size_t len, size_t field)
{
	uint32_t sum = 0;
	size_t i;

	if (at + len > image.size)
		return;
	put(at + field, 0, 4);
	for (i = 0; i < len; i++)
		sum += image.data[at + i];
	put(at + field, ~sum, 4);
}

static void write_image(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;
	ssize_t n;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	for (; done < image.size; done += n) {
		n = write(fd, image.data + done, image.size - done);
		if (n <= 0)
			die("%s: %s", path, strerror(errno));
	}
	close(fd);
}

static const struct base *mutation(const struct base *bases, int nr,
				   const char *path)
{
	const struct base *base = &bases[dice(nr)];
	uint32_t n = 1 + dice(3);

	take_base(base);
	while (n--)
		mutate();
	if (dice(8))
		seal(0, 512, 64);
	if (dice(8) && image.size >= 512)
		seal(image.size - 512, 512, 64);
	if (image.header && dice(8))
		seal(image.header, 1024, 36);
	write_image(path);
	return base;
}

static void read_base(struct base *base, char *path)
{
	char *plus = strchr(path, '+');
	struct stat st;
	int fd;

	if (plus) {
		*plus = '\0';
		base->parent = plus + 1;
		base->parent_digest = digest(base->parent);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || st.st_size > 16 << 20)
		die("%s: %s", path, strerror(errno));
	base->size = st.st_size;
	base->data = malloc(base->size);
	if (!base->data || read(fd, base->data, base->size) != st.st_size)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static int fuzz(double limit, const char *seed, const char *directory,
		char **names, int nr)
{
	struct base *bases = calloc(nr, sizeof(*bases));
	uint64_t first = strtoull(seed, NULL, 0), n = 0;
	char path[4096], name[40], *colon = strchr(seed, ':');
	double end = seconds() + limit;
	int i, ro, rw, counts[3] = { 0 };
	const struct base *base;
	uint32_t flags;

	image.data = malloc(32 << 20);
	if (!bases || !image.data)
		die("no memory");
	for (i = 0; i < nr; i++)
		read_base(&bases[i], names[i]);
	if (colon)
		n = strtoull(colon + 1, NULL, 0);
	snprintf(path, sizeof(path), "%s/mutation.vhd", directory);
	for (; seconds() < end && !failures; n++) {
		/* Where the machine dies, this is the last that is seen. */
		if (n % 64 == 0)
			fprintf(stderr, "mutation %llu:%llu\n",
				(unsigned long long)first,
				(unsigned long long)n);
		dice_state = mix(first, n);
		snprintf(name, sizeof(name), "mutation %llu:%llu",
			 (unsigned long long)first, (unsigned long long)n);
		now = name;
		base = mutation(bases, nr, path);
		parent = base->parent;
		flags = dice(4) ? 0 : VHD_ATTACH_FORCE;
		flags |= dice(4) ? 0 : VHD_ATTACH_DIO_OFF;
		ro = attach_unchanged(path, flags | VHD_ATTACH_READ_ONLY |
				      (dice(8) ? 0 : VHD_ATTACH_SIZE_CHS),
				      USE_READ, 0);
		rw = attach_writing(path, flags, 3);
		if (parent && digest(parent) != base->parent_digest)
			bad("the parent was changed");
		counts[!rw ? 2 : !ro ? 1 : 0]++;
	}
	unlink(path);
	printf("%d mutations (%d refused, %d read-only, %d read-write), %d bad\n",
	       counts[0] + counts[1] + counts[2], counts[0], counts[1],
	       counts[2], failures);
	return !n;
}

int main(int argc, char **argv)
{
	int ret = 1;

	control = open_control();
	buf = aligned_alloc(4096, CHUNK);
	want = aligned_alloc(4096, CHUNK);
	if (!buf || !want)
		die("no memory");
	if (argc == 3 && !strcmp(argv[1], "list"))
		ret = list_images(argv[2]);
	else if (argc > 5 && !strcmp(argv[1], "fuzz"))
		ret = fuzz(atof(argv[2]), argv[3], argv[4], argv + 5, argc - 5);
	else
		die("usage: hostile list DIR | hostile fuzz SEC SEED DIR IMAGE[+PARENT]...");
	return failures ? 1 : ret;
}
