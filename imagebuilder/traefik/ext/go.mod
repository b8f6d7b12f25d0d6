// Takes the place of a module inside Traefik's repository that module proxies do not have.
module github.com/traefik/traefik/dynamic/ext

go 1.26.6
