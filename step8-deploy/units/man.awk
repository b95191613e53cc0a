# man.awk turns a Markdown page into a man page. It knows headings of two levels, paragraphs,
# lists, and tables, whose first column becomes the tag of a tagged paragraph with the other
# columns. Variables: name, section, about.
function text(s) {
	while (match(s, /\[[^]]*\]\([^)]*\)/)) {
		link = substr(s, RSTART, RLENGTH)
		sub(/\]\(.*/, "", link)
		s = substr(s, 1, RSTART - 1) substr(link, 2) substr(s, RSTART + RLENGTH)
	}
	gsub(/`/, "", s)
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	if (s ~ /^[.']/) s = "\\&" s
	return s
}
BEGIN { printf ".TH %s %s\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", toupper(name), section, text(name), text(about) }
/^# / { next }
/^### / { sub(/^### /, ""); print ".SS " text($0); next }
/^#+ / { sub(/^#+ /, ""); print ".SH " toupper(text($0)); next }
/^\|[-|]+$/ { head = 0; next }
/^\|/ {
	gsub(/\\\|/, "\001")
	n = split($0, cell, / *\| */)
	line = ""
	for (i = 3; i < n; i++) line = line (i > 3 ? "; without it: " : "") cell[i]
	gsub("\001", "|", line)
	if (!table) { table = 1; next } # its head
	printf ".TP\n.B %s\n%s\n", text(cell[2]), text(line)
	next
}
{ table = 0 }
/^- / { sub(/^- /, ""); print ".IP \\(bu 2\n" text($0); next }
/^$/ { print ".PP"; next }
{ sub(/^ +/, ""); print text($0) }
