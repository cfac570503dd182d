# map.c: a read looks at new blocks and bitmaps without the lock
/^void vhd_map_read(/,/^}/ { /spin_/d }
/^void vhd_map_read(/,/^}/ s/^\tunsigned long flags;$//
