# space.c: cutting the file in use leaves a free slot that begins before the end
/^static void vhd_slots_cut(/,/^}/ s/vhd_tidy_slot_end(img, s->at\[i\]) <= end/(u64)s->at[i] << VHD_SECTOR_SHIFT < end/
