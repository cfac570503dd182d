# compact.c: of a differencing image, too, blocks of zeros go
s/if (j->img->type == VHD_TYPE_DIFFERENCING)/if (0 \&\& bits_clear(j, block, empty))/
