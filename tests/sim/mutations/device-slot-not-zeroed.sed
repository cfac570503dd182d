# space.c: what lies behind the blocks of a device is taken for zeros
s/if (from == &sp->holes && !img->on_device)/if (!from || (from == \&sp->holes \&\& !img->on_device))/
