# bat.c: entries of writes completed since the commit began are published
/^static u32 vhd_bat_published(/,/^}/ s/< VHD_NEW_TAKEN/< VHD_NEW_WRITTEN/
