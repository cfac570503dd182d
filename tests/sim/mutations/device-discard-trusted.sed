# space.c: what a device has discarded is taken for zeros
s/if (from == &sp->holes && !img->on_device)/if (from == \&sp->holes)/
