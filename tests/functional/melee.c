// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * melee prepare DIR IMAGES
 * melee DIR IMAGES PROCESSES SECONDS: everybody does everything to everything.
 *
 * Each process attaches any image, detaches any device, now, later or not after
 * all, changes its settings, has its partitions read, opens it or a partition,
 * reads, writes and flushes, while all others do the same.  Only such errors may
 * come as the others can be the reason of; and what a process flushed into its
 * own sector of an image it finds there ever after.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/wait.h>

#include "vhdtest.h"

#define IMAGES	16
/* Sectors: of a partition; the image's number, and the processes' own */
#define PARTITION 4096LL
#define ID	100
#define OWN(who) (200 + (who) * 4096LL)

static int control;
static unsigned int nr_images;
static uint64_t random_state;
static uint64_t flushed[IMAGES];
static uint64_t buf[SECTOR / 8] __attribute__((aligned(4096)));

static unsigned int chance(unsigned int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 20) % n;
}

/* May it be one of these? */
static void allow(const char *what, int err, int a, int b, int c)
{
	if (err && err != -a && err != -b && err != -c)
		die("%s: %s", what, strerror(-err));
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/* A table with two partitions, and the image's number */
static void prepare(const char *dir, unsigned int which)
{
	struct vhd_attach_args args;
	uint8_t *mbr = (uint8_t *)buf;
	char path[4096];
	int image, err, dev;

	snprintf(path, sizeof(path), "%s/%u.vhd", dir, which);
	image = open(path, O_RDWR | O_CLOEXEC);
	err = image < 0 ? -errno : attach_fd(control, image, 0, &args);
	if (err)
		die("%s: %s", path, strerror(-err));
	close(image);
	dev = open_device(&args, O_RDWR);
	memset(buf, 0, SECTOR);
	for (int i = 0; i < 2; i++) {
		mbr[446 + i * 16 + 4] = 0x83;
		put32(mbr + 446 + i * 16 + 8, 2048 + i * 8192);
		put32(mbr + 446 + i * 16 + 12, PARTITION);
	}
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	if (pwrite(dev, buf, SECTOR, 0) != SECTOR)
		die("%s: %s", path, strerror(errno));
	memset(buf, 0, SECTOR);
	buf[0] = which;
	if (pwrite(dev, buf, SECTOR, ID * SECTOR) != SECTOR || fsync(dev))
		die("%s: %s", path, strerror(errno));
	close(dev);
	err = detach_patiently(control, args.index);
	if (err)
		die("%s: detach: %s", path, strerror(-err));
}

static void attach(const char *dir)
{
	static const uint32_t flags[] = {
		0, 0, 0, VHD_ATTACH_NO_PARTSCAN, VHD_ATTACH_AUTOCLEAR,
		VHD_ATTACH_DIO_OFF,
	};
	struct vhd_attach_args args;
	char path[4096];
	int image;

	snprintf(path, sizeof(path), "%s/%u.vhd", dir, chance(nr_images));
	image = open(path, O_RDWR | O_CLOEXEC);
	if (image < 0)
		die("%s: %s", path, strerror(errno));
	allow("attach", attach_fd(control, image, flags[chance(ARRAY_SIZE(flags))],
				  &args), EBUSY, 0, 0);
	close(image);
}

static void detach(void)
{
	static const uint32_t flags[] = {
		0, 0, 0, VHD_DETACH_DEFERRED, VHD_DETACH_CANCEL,
	};

	allow("detach", detach_index(control, chance(nr_images),
				     flags[chance(ARRAY_SIZE(flags))]),
	      EBUSY, ENODEV, 0);
}

static void set(void)
{
	static const uint32_t masks[] = {
		VHD_SET_READ_ONLY, VHD_SET_AUTOCLEAR, VHD_SET_DIO,
		VHD_SET_REREAD,
	};
	struct vhd_set_args args = {
		.size = sizeof(args),
		.index = chance(nr_images),
		.mask = masks[chance(ARRAY_SIZE(masks))],
	};

	if (chance(2) && args.mask != VHD_SET_REREAD)
		args.flags = args.mask;
	/* Not read-only for long, or nobody writes. */
	if (args.mask == VHD_SET_READ_ONLY && chance(4))
		args.flags = 0;
	/* A reread of a device with a partition in use is busy. */
	allow("set", ioctl(control, VHD_IOC_SET, &args) ? -errno : 0, EBUSY,
	      ENODEV, args.mask == VHD_SET_DIO ? EOPNOTSUPP : 0);
}

static int open_any(const char *suffix, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vhd%u%s", chance(nr_images), suffix);
	fd = open(path, flags | O_CLOEXEC);
	/* It comes and goes, its number may be another's, and it is read-only */
	allow(path, fd < 0 ? -errno : 0, ENOENT, ENXIO,
	      errno == ENODEV ? ENODEV : errno == EROFS ? EROFS : EACCES);
	return fd;
}

/* One sector, or an end with all that can be told about it */
static void read_sector(int dev, off_t sector)
{
	ssize_t n = pread(dev, buf, SECTOR, sector * SECTOR);
	uint64_t bytes = 0;
	int err = errno;
	struct stat st;

	if (n == SECTOR)
		return;
	fstat(dev, &st);
	ioctl(dev, BLKGETSIZE64, &bytes);
	die("read at sector %lld: %zd (%s), mode %o, device %u:%u, %llu bytes",
	    (long long)sector, n, n < 0 ? strerror(err) : "short", st.st_mode,
	    major(st.st_rdev), minor(st.st_rdev), (unsigned long long)bytes);
}

/*
 * Between the look at the node and the open the disk may have gone, and its
 * number may be that of another's partition now.
 */
static bool is_partition(int dev)
{
	uint64_t bytes = 0;

	return !ioctl(dev, BLKGETSIZE64, &bytes) &&
	       bytes == PARTITION * SECTOR;
}

static void check_own(int dev, unsigned int who, unsigned int which)
{
	read_sector(dev, OWN(who));
	if (buf[0] != flushed[which])
		die("process %u, image %u: %llu was flushed, %llu is there", who,
		    which, (unsigned long long)flushed[which],
		    (unsigned long long)buf[0]);
}

static void use(unsigned int who)
{
	int dev = open_any("", O_RDWR | (chance(2) ? O_DIRECT : 0));
	unsigned int which;

	if (dev < 0)
		return;
	if (is_partition(dev)) {
		close(dev);
		return;
	}
	read_sector(dev, ID);
	which = buf[0];
	if (which >= nr_images)
		die("there is no image %u", which);
	check_own(dev, who, which);
	if (chance(3)) {
		memset(buf, 0, SECTOR);
		buf[0] = flushed[which] + 1;
		if (pwrite(dev, buf, SECTOR, OWN(who) * SECTOR) == SECTOR &&
		    !fsync(dev))
			flushed[which]++;
		/* Somebody had made it read-only before it was opened. */
		else if (errno != EPERM)
			die("write: %s", strerror(errno));
	}
	if (!chance(20) && ioctl(dev, BLKRRPART) && errno != EBUSY &&
	    errno != EINVAL)
		die("BLKRRPART: %s", strerror(errno));
	close(dev);
}

static void look(void)
{
	char path[100];
	int fd = open_any(chance(2) ? "p1" : "p2", O_RDONLY);
	ssize_t n;

	if (fd >= 0) {
		n = pread(fd, buf, SECTOR, 0);
		/* The partition may have been deleted under us. */
		allow("partition", n < 0 ? -errno : 0, EIO, ENXIO, 0);
		close(fd);
	}
	snprintf(path, sizeof(path), "/sys/block/vhd%u/vhd/allocated",
		 chance(nr_images));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, buf, SECTOR);
	close(fd);
}

static void fight(const char *dir, unsigned int who, double end)
{
	uint64_t rounds = 0;

	random_state = 88172645463325252ULL + who * 7919;
	for (; seconds() < end; rounds++) {
		switch (chance(10)) {
		case 0: case 1: attach(dir); break;
		case 2: detach(); break;
		case 3: set(); break;
		case 4: look(); break;
		default: use(who); break;
		}
	}
	if (who == 0)
		printf("%llu rounds of the first process, %llu flushes into the first image\n",
		       (unsigned long long)rounds, (unsigned long long)flushed[0]);
	exit(0);
}

/* Whoever is left goes now. */
static void detach_all(void)
{
	int i, err;

	for (i = 0; i < (int)nr_images; i++) {
		err = detach_patiently(control, i);
		allow("last detach", err, ENODEV, 0, 0);
	}
}

int main(int argc, char **argv)
{
	unsigned int i, processes;
	int status, bad = 0;
	double end;

	control = open_control();
	if (argc == 4 && !strcmp(argv[1], "prepare")) {
		for (i = 0; i < strtoul(argv[3], NULL, 0); i++)
			prepare(argv[2], i);
		return 0;
	}
	if (argc != 5)
		die("usage: melee DIR IMAGES PROCESSES SECONDS");
	nr_images = strtoul(argv[2], NULL, 0);
	processes = strtoul(argv[3], NULL, 0);
	if (nr_images > IMAGES)
		die("at most %d images", IMAGES);
	end = seconds() + strtod(argv[4], NULL);
	fflush(stdout);
	for (i = 0; i < processes; i++)
		if (!fork())
			fight(argv[1], i, end);
	while (wait(&status) > 0)
		bad |= status;
	detach_all();
	return bad ? 1 : 0;
}
