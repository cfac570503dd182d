# space.c: tidy cuts off what the table on disk still has
/^static u64 vhd_tidy_unmaps_end(/,/^}/ s/i < un->nr_pending/0/
