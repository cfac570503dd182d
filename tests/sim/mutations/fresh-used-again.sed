# space.c: a slot that is zeroed and used again counts as fresh
/^u32 vhd_space_take(/,/^}/ s/^\t\*mark = VHD_SLOT_PLAIN;$/\t*mark = img->type != VHD_TYPE_DIFFERENCING ? VHD_SLOT_FRESH : VHD_SLOT_PLAIN;/
