# commit.c: a flush that failed does not fail the image: the next one publishes lost data
/^int vhd_image_fail(/,/^}/ s/WRITE_ONCE(img->failed, err);/WRITE_ONCE(img->failed, 0);/
