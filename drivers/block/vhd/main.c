// SPDX-License-Identifier: GPL-2.0-only
/*
 * VHD disk images as block devices.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/suspend.h>

#include "vhd.h"

/* Devices that go by themselves are removed here. */
struct workqueue_struct *vhd_remove_wq;

static struct miscdevice vhd_control = {
	.minor	= VHD_CONTROL_MINOR,
	.name	= VHD_CONTROL_NAME,
	.fops	= &vhd_control_fops,
	.mode	= 0600,
};

/*
 * From before the freeze of workqueues to after their thaw: all is committed,
 * and nothing may be written behind a hibernated system's back.
 */
static bool vhd_suspended;

bool vhd_is_suspended(void)
{
	return READ_ONCE(vhd_suspended);
}

/* File systems above are not always unmounted before a reboot. */
static int vhd_reboot(struct notifier_block *nb, unsigned long event,
		      void *data)
{
	if (!vhd_is_suspended())
		vhd_device_sync_all();
	return NOTIFY_DONE;
}

static struct notifier_block vhd_reboot_notifier = {
	.notifier_call = vhd_reboot,
};

static int vhd_pm(struct notifier_block *nb, unsigned long event, void *data)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
		/* First, so that what begins of its own accord is over then. */
		WRITE_ONCE(vhd_suspended, true);
		vhd_device_sync_all();
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_SUSPEND:
		WRITE_ONCE(vhd_suspended, false);
		vhd_device_resume_all();
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block vhd_pm_notifier = {
	.notifier_call = vhd_pm,
};

static int __init vhd_register_control(void)
{
	int ret = misc_register(&vhd_control);

	if (ret != -EBUSY)
		return ret;
	/* 251 is for local use: somebody may use it locally. */
	vhd_control.minor = MISC_DYNAMIC_MINOR;
	return misc_register(&vhd_control);
}

static int __init vhd_init(void)
{
	int ret;

	vhd_remove_wq = alloc_workqueue("vhd_remove", WQ_UNBOUND, 0);
	if (!vhd_remove_wq)
		return -ENOMEM;
	ret = vhd_lead_page_create();
	if (ret)
		goto out_workqueue;
	ret = register_reboot_notifier(&vhd_reboot_notifier);
	if (ret)
		goto out_lead_page;
	ret = register_pm_notifier(&vhd_pm_notifier);
	if (ret)
		goto out_reboot;
	ret = vhd_register_control();
	if (ret)
		goto out_pm;
	return 0;

out_pm:
	unregister_pm_notifier(&vhd_pm_notifier);
out_reboot:
	unregister_reboot_notifier(&vhd_reboot_notifier);
out_lead_page:
	vhd_lead_page_free();
out_workqueue:
	destroy_workqueue(vhd_remove_wq);
	return ret;
}

static void __exit vhd_exit(void)
{
	misc_deregister(&vhd_control);
	unregister_pm_notifier(&vhd_pm_notifier);
	unregister_reboot_notifier(&vhd_reboot_notifier);
	/* Every device held a module reference; the last may still be going. */
	destroy_workqueue(vhd_remove_wq);
	vhd_device_wait_gone();
	vhd_lead_page_free();
}

module_init(vhd_init);
module_exit(vhd_exit);

MODULE_DESCRIPTION("VHD disk images as block devices");
MODULE_AUTHOR("The vhd developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
MODULE_ALIAS_MISCDEV(VHD_CONTROL_MINOR);
MODULE_ALIAS("devname:" VHD_CONTROL_NAME);
