# space.c: a block moves into a slot that the device has discarded, as if it were zeros
s/(low == &sp->holes && img->on_device)/0/
