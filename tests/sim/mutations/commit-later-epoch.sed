# bat.c: entries of blocks allocated since the commit began are published
/^static u32 vhd_bat_published(/,/^}/ s/return nb .*;/return entry;/
