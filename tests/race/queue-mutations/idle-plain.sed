# io.c: that the worker is idle is written as if nobody looked
/^static void vhd_queue_sleep(/,/^}/ s/WRITE_ONCE(hq->idle, true);/hq->idle = true;/
