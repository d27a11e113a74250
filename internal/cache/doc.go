// Package cache keeps answers of upstreams on disk: the store behind
// proxy_cache_path, its keys zone, its loader and its manager. It knows nothing of
// requests; package proxy decides what is kept, for how long, and what is served.
//
// It stands for nginx's ngx_http_file_cache.c.
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_cache_path
//
// # Files
//
// A file's name is the MD5 of its key in hexadecimal, in folders cut from the name's
// end as levels says. Its format is limpet's own: nginx's files are foreign here, as
// limpet's are to nginx. A file is written under another name, its fixed part last, and
// renamed when it is whole, so that a reader sees a whole file or none; whoever has a
// file open may go on reading it when it is replaced or removed. A file is served only
// if its fixed part, its checksum, its length and its key are right: two keys of one MD5
// don't share an answer.
//
// # Index
//
// The index holds a node for each file and for each key asked for lately, bounded by the
// keys zone's size: 128 bytes a node, as nginx's nodes take, whatever they take here. A
// node is removed with its file: the least recently used first, when the index is full,
// when the files exceed max_size or leave less than min_free, and when nobody asked for
// it for as long as inactive says.
//
// The loader reads the folders at the start, with pauses, while requests are served: a
// key that isn't in the index yet is looked for on disk. It removes what bears the name
// of a cache file and isn't a good one, and temporary files left behind. Other files are
// left alone; nginx removes them.
//
// Not done: purger and its kin, which are NGINX Plus's.
package cache
