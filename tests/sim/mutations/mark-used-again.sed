# space.c: a slot that is zeroed and used again counts as one whose bitmap is written
/^u32 vhd_space_take(/,/^}/ s/^\t\*mark = VHD_SLOT_PLAIN;$/\t*mark = img->type != VHD_TYPE_DIFFERENCING ? VHD_SLOT_MARKED : VHD_SLOT_PLAIN;/
