// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crowd DIR PROCESSES SECONDS: many processes attach, use, list and detach at
 * once.
 *
 * Each has DIR/N.vhd of its own and now and then tries its neighbour's: that
 * may work or be EBUSY, and nothing else.  What a process wrote into its own
 * image it must find again, whatever the others do.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <sys/wait.h>

#include "vhdtest.h"

static int control;
static uint8_t buf[8192] __attribute__((aligned(4096)));

static void use(const struct vhd_attach_args *args, unsigned int who,
		unsigned int round)
{
	off_t pos = (off_t)(who * 3 + round % 7) << 16;
	int dev = open_device(args, O_RDWR);

	if (dev < 0)
		die("%u: open vhd%d: %s", who, args->index, strerror(-dev));
	memset(buf, who * 16 + round, 4096);
	if (pwrite(dev, buf, 4096, pos) != 4096 ||
	    pread(dev, buf + 4096, 4096, pos) != 4096)
		die("%u: I/O: %s", who, strerror(errno));
	if (memcmp(buf, buf + 4096, 4096))
		die("%u: wrong data", who);
	close(dev);
}

static int attach(const char *dir, unsigned int which,
		  struct vhd_attach_args *args)
{
	char path[4096];
	int image, err;

	snprintf(path, sizeof(path), "%s/%u.vhd", dir, which);
	image = open(path, O_RDWR | O_CLOEXEC);
	if (image < 0)
		die("%s: %s", path, strerror(errno));
	err = attach_fd(control, image, 0, args);
	close(image);
	return err;
}

/* All there is to see of the devices, which come and go meanwhile. */
static void look(void)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *de;
	char path[600], text[4096];
	int fd;

	while ((de = readdir(dir))) {
		if (strncmp(de->d_name, "vhd", 3))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/size", de->d_name);
		fd = open(path, O_RDONLY);
		if (fd >= 0) {
			if (read(fd, text, sizeof(text)) < 0 && errno != ENODEV)
				die("%s: %s", path, strerror(errno));
			close(fd);
		}
		snprintf(path, sizeof(path), "/sys/block/%s/vhd/backing_file",
			 de->d_name);
		fd = open(path, O_RDONLY);
		if (fd >= 0) {
			if (read(fd, text, sizeof(text)) < 0 && errno != ENODEV)
				die("%s: %s", path, strerror(errno));
			close(fd);
		}
	}
	closedir(dir);
}

static unsigned int member(const char *dir, unsigned int who, unsigned int nr,
			   double end)
{
	unsigned int round;

	for (round = 0; seconds() < end; round++) {
		struct vhd_attach_args args;
		unsigned int which = round % 4 == 3 ? (who + 1) % nr : who;
		int err = attach(dir, which, &args);

		if (err == -EBUSY)
			continue;
		if (err)
			die("%u: attach: %s", who, strerror(-err));
		use(&args, who, round);
		if (round % 3 == 0)
			look();
		err = detach_patiently(control, args.index);
		if (err)
			die("%u: detach: %s", who, strerror(-err));
	}
	return round;
}

int main(int argc, char **argv)
{
	unsigned int i, nr;
	int status, bad = 0;
	double end;

	if (argc != 4)
		die("usage: crowd DIR PROCESSES SECONDS");
	control = open_control();
	nr = strtoul(argv[2], NULL, 0);
	end = seconds() + strtod(argv[3], NULL);
	for (i = 0; i < nr; i++)
		if (!fork())
			exit(member(argv[1], i, nr, end) ? 0 : 1);
	while (wait(&status) > 0)
		bad |= status;
	return !!bad;
}
