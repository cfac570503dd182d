# space.c: a slot that is zeroed and used again counts as one whose bitmap is written
/^u32 vhd_space_take(/,/^}/ s/^\t\*marked = false;$/\t*marked = img->type != VHD_TYPE_DIFFERENCING;/
