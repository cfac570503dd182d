/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _VHDCTL_MOUNT_H
#define _VHDCTL_MOUNT_H

/** mount_helper - what /sbin/mount.vhd does; exit codes are those of mount(8) */
int mount_helper(int argc, char **argv);

#endif /* _VHDCTL_MOUNT_H */
