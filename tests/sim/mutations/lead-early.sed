# map.c: a bitmap counts as written when a write may bring it
/^static void vhd_map_write_locked(/,/^}/ s/^\t\text->lead = vhd_map_lead(img, nb, first);$/&\n\t\tif (ext->lead)\n\t\t\tnb->mark = VHD_SLOT_MARKED;/
