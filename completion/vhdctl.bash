# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# bash completion for vhdctl. Commands, options and their values are those that
# "vhdctl --help" and "vhdctl COMMAND --help" tell.

_vhdctl_commands() {
	vhdctl --help 2>/dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }'
}

# _vhdctl_options [COMMAND]: a line for each, "-r --read-only VALUE"; "." for what is not there
_vhdctl_options() {
	vhdctl "$@" --help 2>/dev/null | awk '
	/^ (-[A-Za-z],|   ) --/ {
		letter = /^ -/ ? substr($0, 2, 2) : "."
		sub(/^ +(-[A-Za-z], )?/, "")
		name = value = $0
		sub(/[^-a-z0-9].*/, "", name)
		value = substr(value, length(name) + 1)
		if (value !~ /^(\[?=| [^ ])/)
			value = "."
		sub(/^(\[?=| )/, "", value)
		sub(/[] ].*/, "", value)
		print letter, name, value
	}'
}

_vhdctl_devices() { vhdctl list --noheadings --raw --output NAME 2>/dev/null; }
_vhdctl_columns() { vhdctl list --list-columns 2>/dev/null | awk '{ print $1 }'; }

_vhdctl_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_vhdctl_files() { mapfile -t COMPREPLY < <(compgen -f -- "$1"); compopt -o filenames 2>/dev/null; }

# _vhdctl_value VALUE CUR: what may stand for VALUE
_vhdctl_value() {
	local done=''
	case $1 in
	*COLUMNS)
		# Of a list, the last word
		[[ $2 != *,* ]] || done=${2%,*},
		_vhdctl_words "$(_vhdctl_columns | sed "s/^/$done/")" "$2"
		compopt -o nospace 2>/dev/null ;;
	FILE | IMAGE | DIR) _vhdctl_files "$2" ;;
	*\|*) _vhdctl_words "${1//|/ }" "$2" ;;
	esac
}

# _vhdctl_arguments COMMAND CUR: words, devices and files, as the synopsis tells
_vhdctl_arguments() {
	local usage words='' files
	usage=$(vhdctl "$1" --help 2>/dev/null | sed -n '/^$/q; s/^\(Usage:\)\? *vhdctl [a-z]* *//p')
	[[ $usage != *DEV* ]] || words=$(_vhdctl_devices)
	[[ ! $usage =~ ^([a-z]+(\|[a-z]+)+) ]] || words+=" ${BASH_REMATCH[1]//|/ }"
	_vhdctl_files "$2"
	files=("${COMPREPLY[@]}")
	_vhdctl_words "$words" "$2"
	COMPREPLY+=("${files[@]}")
}

_vhdctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i letter name value
	if [ "$cur" = = ]; then
		cur=''
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} != -* ]]; then command=${COMP_WORDS[i]}; break; fi
	done
	COMPREPLY=()
	if [[ $cur == -* ]]; then
		_vhdctl_words "$(_vhdctl_options ${command:+"$command"} | awk '{ print $1 == "." ? "" : $1, $2 }')" "$cur"
		return
	fi
	if [[ $prev == -* ]]; then
		while read -r letter name value; do
			[[ $prev == "$letter" || $prev == "$name" ]] && [ "$value" != . ] || continue
			_vhdctl_value "$value" "$cur"
			return
		done < <(_vhdctl_options ${command:+"$command"})
	fi
	if [ -z "$command" ]; then
		_vhdctl_words "$(_vhdctl_commands)" "$cur"
	else
		_vhdctl_arguments "$command" "$cur"
	fi
}

complete -F _vhdctl vhdctl
