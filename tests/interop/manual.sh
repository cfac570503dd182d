#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# --help, man pages and completion tell of the same commands, options and
# columns, in both directions. --help is compared with what the option tables
# take by the tool's own tests.
. "${0%/*}/../lib.sh"

MAN=$REPO/Documentation/man
COMPLETION=$REPO/completion
# Taken by every command, told of in vhdctl(8)
COMMON='--debug --help --progress --progress-json --quiet --verbose --version -V -h -q -v'

commands() { vhdctl --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }'; }

# What --help tells: "-r" and "--read-only", each on a line
help_options() {
	vhdctl "$@" --help | grep -E '^ +-' | grep -oE '^ +(-[A-Za-z], )?--[a-z0-9-]+' | grep -oE '[-]+[A-Za-z0-9-]+' | sort -u
}

# The same out of a man page's source: paragraphs that begin with an option
man_options() {
	sed -n '/^\*-/p' "$1" | { grep -oE '\*-+[A-Za-z0-9-]+\*' || true; } | tr -d '*' | sort -u
}

without_common() { grep -vxF -e "$(tr ' ' '\n' <<<"$COMMON")" || true; }

# same NAME NAME: two lists, in files of these names
same() {
	local diff
	diff=$(diff "$1" "$2") || fail "$3: < only in $1, > only in $2: $(grep '^[<>]' <<<"$diff" | tr '\n' ' ')"
}

t_man_options() {
	local c
	help_options > help
	man_options "$MAN/vhdctl.8.scd" > man
	same help man 'vhdctl(8)'
	tr ' ' '\n' <<<"$COMMON" | LC_ALL=C sort > common
	LC_ALL=C sort help > sorted
	same sorted common 'the common options'
	while read -r c; do
		[ -e "$MAN/vhdctl-$c.8.scd" ] || fail "vhdctl $c has no man page"
		help_options "$c" | without_common > help
		man_options "$MAN/vhdctl-$c.8.scd" > man
		same help man "vhdctl-$c(8)"
		grep -q "^\*$c\*" "$MAN/vhdctl.8.scd" || fail "vhdctl(8) does not tell of $c"
	done < <(commands)
	(cd "$MAN" && printf '%s\n' vhdctl-*.8.scd) | sed 's/vhdctl-\(.*\).8.scd/\1/' | sort > man
	commands | sort > help
	same help man 'pages and commands'
}

t_man_columns() {
	vhdctl list --list-columns | awk '{ print $1 }' | sort > help
	sed -n '/^# COLUMNS/,/^# SEE/s/^\*\(.*\)\*$/\1/p' "$MAN/vhdctl-list.8.scd" | sort > man
	same help man 'columns'
}

# They are pages: scdoc and man find nothing to complain of, and name each other truly
t_man_pages() {
	local page name
	requires scdoc man
	for page in "$MAN"/*.scd; do
		name=$(basename "$page" .scd)
		scdoc < "$page" > "$name"
		[ "$(head -c 200 "$page" | sed -n '1s/(\(.\)).*/.\1/p')" = "$name" ] || fail "$page begins with another name"
		MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l "$name" > text 2> warnings
		[ ! -s warnings ] || fail "$name: $(cat warnings)"
		grep -q '^SEE ALSO' text || fail "$name: no SEE ALSO"
	done
	for name in $(grep -ohE '\*(vhdctl[a-z-]*|vhdtab|vhd)\*\([458]\)' "$MAN"/*.scd | sort -u | tr -d '*' | sed 's/(\(.\))/.\1/'); do
		[ -e "$name" ] || fail "there is no page $name, which another one names"
	done
}

# --- what the documents say -----------------------------------------------------

# Code in Markdown and reStructuredText, a line each: vhdctl with its arguments.
# Ends at what is the shell's, or at two spaces, behind which remarks are.
told_commands() {
	grep -ohE '(^|[`#$|;(*] *)vhdctl +[^`]*' "$REPO"/*.md "$REPO"/Documentation/*.rst "$REPO"/Documentation/admin-guide/*.rst \
		"$REPO"/tests/*/README.md | sed -E 's/^.*(vhdctl )/\1/' | cut_remarks
	# Tables "from there: to here" have them in the second column
	grep -ohE '  vhdctl .*' "$REPO"/Documentation/admin-guide/*.rst | sed 's/^ *//' | cut_remarks
	# Man pages: examples, with the marks of scdoc
	grep -hE '^[[:space:]]*([$#] )?vhdctl [a-z]' "$MAN"/*.scd | sed -E 's/^[[:space:]]*([$#] )?//' | cut_remarks
}
cut_remarks() { sed -E 's/ *[;|)>].*//; s/  .*//; s/[.,:*+ ]+$//; s/\*//g'; }

# Each command line in the documents is one: a command that there is, with
# options that it has
t_documents_name_what_there_is() {
	local line words word n=0
	commands > known
	told_commands | sort -u > told
	while read -r line; do
		read -r -a words <<<"$line"
		case ${words[1]-} in
		'' | [A-Z]*) continue ;;
		-*) words=(vhdctl '' "${words[@]:1}") ;;
		esac
		[ -z "${words[1]}" ] || grep -qxF "${words[1]}" known || fail "\"$line\": vhdctl has no command ${words[1]}"
		[ -e "options.${words[1]}" ] || { help_options ${words[1]:+"${words[1]}"}; tr ' ' '\n' <<<"$COMMON"; } > "options.${words[1]}"
		for word in "${words[@]:2}"; do
			word=${word#[}
			[[ $word =~ ^(--[a-z][a-z-]*|-[A-Za-z]) ]] || continue
			grep -qxF -- "${BASH_REMATCH[1]}" "options.${words[1]}" || fail "\"$line\": there is no ${BASH_REMATCH[1]}"
		done
		n=$((n + 1))
	done < told
	[ $n -gt 60 ] || fail "only $n command lines found in the documents"
}

# Files and make targets that documents name are there; "make help" tells of
# each target that the documents do
t_documents_name_files_there_are() {
	local path target
	grep -ohE '(^|[^A-Za-z0-9_/.-])(tests|tools|drivers|Documentation|include|udev|systemd|initramfs|packaging|completion)/[A-Za-z0-9_./-]*[A-Za-z0-9_]' \
		"$REPO"/*.md "$REPO"/Documentation/*.rst "$REPO"/Documentation/admin-guide/*.rst "$REPO"/Documentation/man/*.scd "$REPO"/tests/*/README.md \
		"$REPO"/.github/*/*.md "$REPO"/MAINTAINERS | sed 's/^[^A-Za-z]//; s/_$//' |
		grep -v '\.ko$' | sort -u > told
	while read -r path; do
		compgen -G "$REPO/$path*" >/dev/null || fail "the documents name $path"
	done < told
	make -s -C "$REPO" help | grep -oE '\bmake [a-z][a-z_-]+' | sort -u > helped
	grep -ohE '(`|^[[:space:]]*[#$]? ?)make [a-z][a-z_-]+( [a-z][a-z_-]+)*' "$REPO"/*.md "$REPO"/Documentation/*.rst "$REPO"/Documentation/admin-guide/*.rst |
		sed 's/.*make //' | tr ' ' '\n' | sort -u > told
	while read -r target; do
		[[ $target =~ ^(help)?$ ]] || grep -qxF "make $target" helped || fail "make help does not tell of make $target"
	done < told
	while read -r _ target; do
		grep -qE "^([a-z_-]+ )*$target:|^$target " "$REPO/Makefile" || fail "make help tells of $target"
	done < helped
}

# The messages that Troubleshooting goes by are said: by the tool, or as an errno
t_troubleshooting() {
	sed -n '/^Troubleshooting/,/^Coming from/s/^"\([^"]*\)".*/\1/p' "$REPO/Documentation/admin-guide/vhd.rst" > told
	[ "$(wc -l < told)" -ge 8 ] || fail "only $(wc -l < told) messages"
	"${PYTHON[@]}" - told "$REPO"/tools/*/*.c <<-'END' || fail 'nobody says so'
		import errno, os, re, sys
		said = [os.strerror(e) for e in errno.errorcode]
		for name in sys.argv[2:]:
		    for text in re.findall(r'"((?:[^"\\]|\\.)*)"', open(name).read()):
		        said.append(text.replace('\\"', '"'))
		# An excerpt of what is said; or all of it, with the blanks filled in
		def says(text, message):
		    excerpt = '.*'.join(map(re.escape, message.split('...')))
		    whole = '.*'.join(map(re.escape, re.split('%[a-z]+', text)))
		    return re.search(excerpt, text) or len(text) > 11 and re.search(whole, message)
		missing = [m for m in open(sys.argv[1]).read().splitlines() if not any(says(t, m) for t in said)]
		print(*missing, sep='\n')
		sys.exit(bool(missing))
	END
}

# vhd(4): ioctls and module parameters
t_driver_manual() {
	local word
	for word in $(grep -ohE '^#define VHD_IOC_[A-Z]+' "$REPO/include/uapi/linux/vhd.h" | sed 's/.* //' | grep -v MAGIC) \
		$(sed -nE 's/^module_param(_named)?\(([a-z_]+),.*/\2/p' "$REPO"/drivers/block/vhd/*.c); do
		grep -q "^\*$word\*" "$MAN/vhd.4.scd" || fail "vhd(4) does not tell of $word"
	done
	for word in $(sed -n 's,^What:.*/vhd/\([a-z_]\+\)$,\1,p' "$REPO/Documentation/ABI/testing/sysfs-block-vhd"); do
		grep -q "DEVICE_ATTR_RO($word)\|VHD_[A-Z_]*(${word}[,)]" "$REPO/drivers/block/vhd/sysfs.c" || fail "the ABI tells of $word"
	done
}

# --- completion ---------------------------------------------------------------

# bash: words after "vhdctl WORD...", the last of them incomplete
bash_complete() {
	bash --norc -c '. "$1"; shift; COMP_WORDS=(vhdctl "$@"); COMP_CWORD=$#; _vhdctl; printf "%s\n" "${COMPREPLY[@]}"' \
		bash "$COMPLETION/vhdctl.bash" "$@"
}
fish_complete() { fish --no-config -c "source $COMPLETION/vhdctl.fish; complete -C 'vhdctl $*'" | cut -f1; }
# zsh: what its functions make of --help; a terminal would be needed for more
zsh_options() {
	zsh -f -c '. "$1"; shift; _vhdctl_options "$@"' zsh "$COMPLETION/_vhdctl" "$@" | grep -oE '^[-]+[A-Za-z0-9]+[a-z0-9-]*' | sed 's/-$//'
}

# all_options SHELL: options of every command are those of --help
all_options() {
	local c
	while read -r c; do
		# shellcheck disable=SC2086
		help_options $c > help
		# shellcheck disable=SC2086
		case $1 in
		bash) { bash_complete $c --; bash_complete $c -; } ;;
		fish) { fish_complete $c --; fish_complete $c -; } ;;
		zsh) zsh_options $c ;;
		esac | sort -u > completed
		same help completed "$1: options of vhdctl $c"
	done < <(commands; echo)
}

# completes SHELL "WORDS" WORD...: among the completions of "vhdctl WORDS" are these
completes() {
	local shell=$1 line=$2 word
	shift 2
	# shellcheck disable=SC2086
	case $shell in
	bash) words=() && read -r -a words <<<"$line"; [[ $line != *' ' ]] || words+=(''); bash_complete "${words[@]}" ;;
	fish) fish_complete "$line" ;;
	esac > completed
	for word; do
		grep -qxF -- "$word" completed || fail "$shell: vhdctl $line: $word is not among: $(tr '\n' ' ' < completed)"
	done
}

in_a_shell() {
	local eq='=' i
	[ "$1" = fish ] || eq=' = '
	all_options "$1"
	commands | sort > help
	case $1 in bash) bash_complete '' ;; fish) fish_complete '' ;; esac | sort > completed
	same help completed "$1: commands"
	touch file.vhd
	completes "$1" 'attach f' file.vhd
	completes "$1" 'info -J ' file.vhd
	completes "$1" 'list --output ' NAME BACK-FILE
	completes "$1" 'list -O NAME,T' NAME,TYPE
	completes "$1" 'create --type d' dynamic
	completes "$1" 'create -t ' dynamic fixed
	completes "$1" 'dump ' footer locators file.vhd
	i=$([ "$1" = fish ] && echo --direct-io= || true)
	completes "$1" "attach --direct-io${eq}o" "${i}on" "${i}off"
}

t_bash() { in_a_shell bash; }
t_fish() { requires fish; export HOME=$PWD; in_a_shell fish; }
t_zsh() {
	requires zsh
	all_options zsh
	zsh -f -c '. "$1"; _vhdctl_commands' zsh "$COMPLETION/_vhdctl" | sed 's/:.*//' | sort > completed
	commands | sort > help
	same help completed 'zsh: commands'
	# It loads, and is the completion of vhdctl
	zsh -f -c 'fpath=("$1" $fpath); autoload -Uz compinit; compinit -u -D; [[ $_comps[vhdctl] == _vhdctl ]]; autoload +X _vhdctl' \
		zsh "$COMPLETION" || fail 'compinit does not find it'
}

run_cases "$@"
