# space.c: a gap found at opening is taken for a hole
s/from == &sp->holes ? VHD_IO_RESERVE/from != \&sp->freed ? VHD_IO_RESERVE/
