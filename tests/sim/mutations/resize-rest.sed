# resize.c: the rest of the last block is not zeroed when the disk grows over it
/^static int vhd_resize_zero(/,/^}/ s/if (!r->zero_len)/if (r)/
