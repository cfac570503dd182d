/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Of the kernel, as much as control.c needs; see fuzz_ioctl.c. */
