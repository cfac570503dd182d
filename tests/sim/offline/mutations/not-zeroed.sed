# compact.c: what is in a gap is not zeroed where a block has holes
s/err = vhd_zero(j->fd, m->to, slot);/err = 0;/
