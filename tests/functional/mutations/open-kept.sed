# device.c: what an image is opened with is kept
/^static int vhd_image_open(/,/^}/ s/^\tkfree(o);$//
