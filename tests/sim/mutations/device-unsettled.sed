# space.c: the room of a device is used although the table as it was read may not be durable
s/(img->on_device || sp->stale || sp->gaps.nr)/(sp->stale || sp->gaps.nr)/
