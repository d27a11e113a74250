package main

// seedConf is the seed's configuration with two backends; its balancer
// is copied from testdata to the run's folder, where both servers find it.
// It keeps no connections to the backends, as the seed doesn't: nginx 1.31, and so
// limpet, keeps them all the same.
const seedConf = `lua_shared_dict cache 1m;
upstream backend {
	server 127.0.0.1:BACKEND;
	server 127.0.0.2:BACKEND;
	balancer_by_lua_file lua/balancer.lua;
}
server { listen 127.0.0.1:PORT; location / { proxy_pass http://backend; } }
lua_shared_dict healthcheck 1m;
lua_socket_log_errors off;
init_worker_by_lua_block {
	local hc = require "resty.upstream.healthcheck"
	local ok, err = hc.spawn_checker{
		shm = "healthcheck", upstream = "backend", type = "http",
		http_req = "GET /128 HTTP/1.0\r\nHost: localhost\r\n\r\n",
		interval = 2000, timeout = 1000, fall = 3, rise = 2, valid_statuses = {200, 302}, concurrency = 10,
	}
	if not ok then
		ngx.log(ngx.ERR, "failed to spawn health checker: ", err)
		return
	end
}
`

// seedModules stands in for the two OpenResty modules of the seed that Debian doesn't
// package: tables as ngx.upstream makes them anew at each call, and no health checks.
const seedModules = `init_by_lua_block {
	package.preload["ngx.upstream"] = function()
		local names = { "127.0.0.1:BACKEND", "127.0.0.2:BACKEND" }
		local function list(make)
			return function(name)
				local t = {}
				for i = 1, #names do t[i] = make(i, names[i]) end
				return t
			end
		end
		return {
			get_servers = list(function(_, name)
				return { name = name, addr = name, weight = 1, max_fails = 1, fail_timeout = 10 }
			end),
			get_primary_peers = list(function(i, name)
				return { id = i - 1, name = name, weight = 1, current_weight = 0, effective_weight = 1,
					conns = 0, fails = 0, max_fails = 1, fail_timeout = 10 }
			end),
		}
	end
	package.preload["resty.upstream.healthcheck"] = function()
		return { spawn_checker = function() return true end }
	end
}
`
