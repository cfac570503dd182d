# space.c: tidy forgets that a slot begins with a bitmap
/^static u64 vhd_tidy_slot_end(/,/^}/ s/vhd_slot_bytes(img)/vhd_block_bytes(img)/
