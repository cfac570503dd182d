# space.c: a gap found at opening is taken for a hole
s/from == &sp->holes && !img->on_device/from != \&sp->freed \&\& !img->on_device/
