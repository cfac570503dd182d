# map.c: a write of any sector brings the bitmap
/^static bool vhd_map_lead(/,/^}/ s/return !first && /return /
