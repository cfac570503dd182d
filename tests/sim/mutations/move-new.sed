# move.c: a block moves whose entry no commit has written
/^static bool vhd_move_durable(/,/^}/ s/return !vhd_new_find(img, block) \&\&/return/
