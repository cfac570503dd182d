# io.c: the worker sleeps without a last look at the list
/^static void vhd_queue_sleep(/,/^}/ s/if (llist_empty(&hq->list) && !kthread_should_stop())/if (!kthread_should_stop())/
