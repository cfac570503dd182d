/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attached devices, as /sys shows them, and the driver's control node.
 */
#ifndef _VHDCTL_DEVICE_H
#define _VHDCTL_DEVICE_H

#include <sys/types.h>

#include <linux/types.h>

/** struct device - an attached device; @name is "vhdN" */
struct device {
	int index;
	char name[16];
};

/**
 * device_list - all attached devices, in the order of their numbers
 * @devices: out: to be freed
 * Return: how many, or a negative errno.
 */
int device_list(struct device **devices);

/**
 * device_find - the device an argument means
 * @arg: /dev/vhd0, vhd0, 0, one of its partitions, a link to one of them, or
 *	the path of an attached image
 * Return: 0, or -ENODEV.
 */
int device_find(const char *arg, struct device *d);

/** device_is_ours - is that the number of a VHD device or of one of its partitions */
bool device_is_ours(dev_t devt);

/** device_of_file - the device whose image is the inode; 0 or -ENODEV */
int device_of_file(dev_t dev, ino_t ino, struct device *d);

/**
 * device_attr - a file below /sys/block/vhdN, without the line's end
 * @attr: such as "vhd/type" or "size"
 * Return: 0 or a negative errno; @buf is a string in any case.
 */
int device_attr(const struct device *d, const char *attr, char *buf,
		size_t len);

/** device_number - the same as a decimal number; 0 if there is none */
u64 device_number(const struct device *d, const char *attr);

/**
 * device_numbers - numbers of the disk (first) and all its partitions
 * @devs: out: to be freed
 * Return: how many, or a negative errno.
 */
int device_numbers(const struct device *d, dev_t **devs);

/*
 * keep_in_place - let nobody defragment an image that is to have a fast lane
 * That moves blocks, and not every way of doing so asks the driver first.  What
 * cannot be done here the driver misses, and says so.
 */
void keep_in_place(int fd);

/** device_keep_in_place - the same of a file that the device will go on in */
void device_keep_in_place(const struct device *d, int fd);

/**
 * control_open - open /dev/vhd-control, loading the module if need be
 * Return: a descriptor, or -1 after a message, with the exit code in @code.
 */
int control_open(int *code);

/**
 * device_merging - tell that a commit of the device is under way
 * Return: the exit code for that.
 */
int device_merging(const struct device *d);

/**
 * nodes_follow - until udev has made its links anew after a switch
 * The device goes on in another image, whose id udev has noted then.
 */
void nodes_follow(const struct device *d);

/** nodes_wait - until udev has made the device's nodes and links */
void nodes_wait(const struct device *d);

/** udev_running - is there anyone to wait for */
bool udev_running(void);

/**
 * holders_print - name who uses a device, one message each
 * Return: how many were named.
 */
int holders_print(const struct device *d);

/** holders_transient - does only udev look at the device, which will pass */
bool holders_transient(const struct device *d);

#endif /* _VHDCTL_DEVICE_H */
