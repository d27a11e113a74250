// Package static answers with files: static files, their indexes, listings of
// folders, try_files, and what goes with files on their way out, which is
// conditional requests and ranges.
//
// It stands for nginx's static, index, autoindex, random_index, gzip_static,
// empty_gif and try_files modules, the not_modified and range filters and the
// part of the core module that opens files.
// https://nginx.org/en/docs/http/ngx_http_core_module.html
// https://nginx.org/en/docs/http/ngx_http_index_module.html
// https://nginx.org/en/docs/http/ngx_http_autoindex_module.html
// https://nginx.org/en/docs/http/ngx_http_random_index_module.html
// https://nginx.org/en/docs/http/ngx_http_gzip_static_module.html
// https://nginx.org/en/docs/http/ngx_http_empty_gif_module.html
//
// No request reads a file outside of root or alias but through symbolic links: a
// path that an alias, a rewrite or a variable of try_files makes climb by `..` is
// refused with 403, where nginx would follow it.
//
// Not done: open_file_cache, aio and the other ways of reading files are
// accepted, as files are opened at each request and sent by sendfile(2).
package static
