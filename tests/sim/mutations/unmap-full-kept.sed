# unmap.c: an unmapped block still counts as full
/^static void vhd_unmap_clear(/,/^}/ s/^\tclear_bit.*//
