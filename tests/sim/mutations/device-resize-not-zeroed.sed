# resize.c: a fixed image on a device grows over what lies behind it
/^static int vhd_resize_device(/,/^}/ s/if (!r->zero_len)/if (r)/
