# jq's functions that are written in jq, as its manual defines them. What would walk a whole value or compare many is
# native instead, so that it can be charged beforehand.

def not: if . then false else true end;
def select(f): if f then . else empty end;
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def finites: select(type == "number" and (isinfinite or isnan | not));
def normals: select(isnormal);

def map(f): [.[] | f];
def map_values(f): .[] |= f;
def recurse(f): def r: ., (f | r); r;
def recurse(f; condition): def r: ., (f | select(condition) | r); r;
def recurse: recurse(.[]?);
def repeat(f): def r: ., (f | r); r;
def while(condition; update): def r: if condition then ., (update | r) else empty end; r;
def until(condition; update): def r: if condition then . else update | r end; r;
def walk(f): def w: if type == "object" or type == "array" then map_values(w) else . end | f; w;

def first: .[0];
def last: .[-1];
def last(f): reduce f as $x (null; $x);
def nth($n): .[$n];
def nth($n; f): if $n < 0 then error("nth takes no negative index") else first(skip($n; f)) end;
def isempty(f): label $out | (f | false, break $out), true;
def add(f): reduce f as $x (null; . + $x);
def any(f; condition): isempty(first(f | condition | select(.))) | not;
def all(f; condition): isempty(first(f | condition | select(. | not)));
def any(condition): any(.[]; condition);
def all(condition): all(.[]; condition);
def any: any(.[]; .);
def all: all(.[]; .);
def in(of): . as $x | of | has($x);
def inside(of): . as $x | of | contains($x);
def isvalid(f): try (f | true) catch false;
def combinations: if length == 0 then [] else .[0][] as $x | (.[1:] | combinations) as $rest | [$x] + $rest end;
def combinations($n): . as $of | [range($n)] | map($of) | combinations;
def toarray: if type == "array" then . else [.] end;

def paths: path(..) | select(length > 0);
def paths(f): path(.. | select(f)) | select(length > 0);
def leaf_paths: paths(scalars);
def del(f): delpaths([path(f)]);
def to_entries: [keys_unsorted[] as $k | {key: $k, value: .[$k]}];
def from_entries: reduce .[] as $x ({};
  . + {($x | if type == "object" then
        (if has("key") then .key elif has("k") then .k elif has("name") then .name elif has("Name") then .Name
         elif has("Key") then .Key elif has("K") then .K else null end)
      else . end
      | if type == "string" then . elif . == null then "null" else tojson end):
     ($x | if type == "object" then
        (if has("value") then .value elif has("v") then .v elif has("Value") then .Value elif has("V") then .V else null end)
      else null end)});
def with_entries(f): to_entries | map(f) | from_entries;
def pick(f): . as $top | reduce path(f) as $p (null; setpath($p; $top | getpath($p)));
def tostream: path(def r: (.[]? | r), .; r) as $p | getpath($p)
  | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f): foreach f as $i ({value: null, emit: false};
    if .emit then {value: null, emit: false} else . end
    | if ($i | length) == 2
      then .emit = ($i[0] | length == 0) | .value |= setpath($i[0]; $i[1])
      else .emit = ($i[0] | length == 1) end;
    if .emit then .value else empty end);
def truncate_stream(f): . as $n | null | f | . as $input
  | if (.[0] | length) > $n then setpath([0]; .[0][$n:]) else empty end;

def sort_by(f): sort_by_keys(map([f]));
def group_by(f): group_by_keys(map([f]));
def unique_by(f): [group_by(f)[] | .[0]];
def min_by(f): min_by_keys(map([f]));
def max_by(f): max_by_keys(map([f]));
def IN(f): any(f == .; .);
def IN(source; f): any(source == f; .);
def INDEX(stream; index): reduce stream as $row ({}; .[$row | index | tostring] |= $row);
def INDEX(index): INDEX(.[]; index);

def index($i): indices($i) | .[0];
def rindex($i): indices($i) | .[-1];
def ascii: [.] | implode;
def test($re): test($re; null);
def match($re): matches($re; null) | .[];
def match($re; $flags): matches($re; $flags) | .[];
def capture($re; $flags): match($re; $flags) | [.captures[] | select(.name != null) | {key: .name, value: .string}] | from_entries;
def capture($re): capture($re; null);
def scan($re; $flags): match($re; "g" + $flags) | if (.captures | length) > 0 then [.captures[].string] else .string end;
def scan($re): scan($re; null);
def splits($re; $flags): split($re; $flags) | .[];
def splits($re): splits($re; null);
def sub($re; f; $flags): . as $in
  | (reduce (matches($re; $flags) | .[]) as $m ([0, [""]];
      . as [$end, $done]
      | [($m.offset + $m.length),
         [$done[] as $text | ($m.captures | map(select(.name != null) | {key: .name, value: .string}) | from_entries | f) as $new
          | $text + $in[$end:$m.offset] + $new]]))
  | . as [$end, $done] | $done[] | . + $in[$end:];
def sub($re; f): sub($re; f; "");
def gsub($re; f; $flags): sub($re; f; $flags + "g");
def gsub($re; f): sub($re; f; "g");
def todate: todateiso8601;
def fromdate: fromdateiso8601;
def date: todate;
