# space.c: slots are handed out behind where the file is being cut
/^static u64 vhd_tidy_live_end(/,/^}/ s/^\tsp->stale = true;/\tsp->stale = sp->stale;/
/^static u64 vhd_tidy_live_end(/,/^}/ s/^\tvhd_space_relax(img);//
/^static u64 vhd_tidy_live_end(/,/^}/ s/^\tsp->data_end = end;//
/^static int vhd_tidy_start(/,/^}/ s/^\tsp->stale = true;//
