# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
#
# What kernel, build and run have in common. Sourced, never run.

VM_DIR=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
VM_REPO=$(realpath "$VM_DIR/../..")
VM_CACHE=${VHD_CACHE:-/var/cache/vhd}
VM_BUILD=${VHD_BUILD:-$VM_REPO/build}
VM_SOURCE=${VHD_SOURCE:-$VM_REPO}
VM_MIRROR=${VHD_MIRROR:-http://deb.debian.org}
VM_KERNELS='6.1 6.12 7.3 debug uml uml-debug'
VM_ME=${0##*/}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf 'vm/%s: %s\n' "$VM_ME" "$*" >&2; }
die() { say "$*"; exit 2; }

# Packages, chroots, 9p with everybody's files: all of it wants root.
be_root() {
	[ "$EUID" = 0 ] || exec sudo --preserve-env="$(compgen -e VHD_ | paste -sd,)" -- "$0" "$@"
}

known_kernel() {
	case " $VM_KERNELS " in *" $1 "*) ;; *) die "no kernel called '$1' (there are: $VM_KERNELS)" ;; esac
}

# need COMMAND:PACKAGE ...  installs the packages whose command (or file, if it
# begins with a slash) is not there. A fresh Debian has next to nothing.
need() {
	local item what missing=()
	for item; do
		what=${item%%:*}
		case $what in
		/*) [ -e "$what" ] || missing+=("${item#*:}") ;;
		*) command -v "$what" >/dev/null || missing+=("${item#*:}") ;;
		esac
	done
	[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

install_packages() {
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600) log
	local install=("${apt[@]}" install -y --no-install-recommends "$@")
	say "installing $* (apt)"
	log=$(mktemp)
	# At the second attempt with fresh lists: there may be none yet, or old ones
	# that name files no longer there
	"${install[@]}" >"$log" 2>&1 </dev/null ||
		{ "${apt[@]}" update && "${install[@]}"; } >"$log" 2>&1 </dev/null ||
		{ cat "$log" >&2; die 'apt could not install them'; }
	rm -f "$log"
}

# The kernel's description, written by tests/vm/kernel when all is in place:
# KVER, and where to find IMAGE, MODROOT (of lib/modules), KBUILD, CHROOT, KARCH.
load_kernel() {
	local info=$VM_CACHE/$1/current/info
	[ -e "$info" ] || die "kernel $1 is not in $VM_CACHE: run tests/vm/kernel $1"
	# shellcheck disable=SC1090
	. "$info"
}

younger_than_a_day() { [ -n "$(find "$1" -maxdepth 0 -mmin -1440 2>/dev/null)" ]; }
