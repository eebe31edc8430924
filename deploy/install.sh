#!/bin/sh
# Install the release in which this stands, as root: /opt/holdfast/VERSION/deploy/install.sh
# It may be repeated at any time. What differs between hosts is in /etc/holdfast, and what
# is there already stays as it is.
set -eu
umask 022

release=$(cd "$(dirname "$0")/.." && pwd -P)
etc=/etc/holdfast

say() {
    echo "install.sh: $*"
}

give_up() {
    say "$*" >&2
    exit 1
}

check() {
    [ "$(id -u)" -eq 0 ] || give_up "run this as root."
    case $release in
        /opt/holdfast/*) ;;
        *) give_up "unpack the release below /opt/holdfast; $release is elsewhere." ;;
    esac
    for program in nginx python3 curl; do
        command -v "$program" >/dev/null || give_up \
            "$program is missing. On Debian: apt-get install nginx python3 python3-venv curl"
    done
}

make_user() {
    getent passwd holdfast >/dev/null || useradd --system --user-group \
        --home-dir /var/lib/holdfast --no-create-home --shell /usr/sbin/nologin holdfast
    # Nginx talks to the sockets of the site, which are for this group.
    usermod --append --groups holdfast www-data
}

make_folders() {
    install -d -m 0755 "$etc" "$etc/nginx"
    install -d -m 0700 -o holdfast -g holdfast "$etc/secrets" /var/lib/holdfast
    [ -e "$etc/holdfast.env" ] || install "$release/deploy/holdfast.env" "$etc/holdfast.env"
    for file in "$etc/holdfast.env" "$etc/aws.env"; do
        [ ! -e "$file" ] || { chown root:holdfast "$file"; chmod 0640 "$file"; }
    done
}

make_program() {
    # Nothing in it belongs to the user of the site.
    chown -R root:root "$release"
    chmod -R go=rX "$release"
    "$release/deploy/setup.sh" requirements.txt
    "$release/.venv/bin/python" -m compileall -q -x '/\.venv/|/tests/' "$release"
}

try_nginx() {
    # As it will be, but elsewhere: what is wrong is found while the old one still serves.
    trial=$(mktemp -d)
    trap 'rm -rf "$trial"' EXIT
    sed "s@/etc/holdfast/nginx/@$trial/@" "$release/deploy/nginx.conf" > "$trial/nginx"
    for file in "$etc"/nginx/*.conf; do
        [ ! -e "$file" ] || sed "s@/opt/holdfast/current/@$release/@" "$file" \
            > "$trial/$(basename "$file")"
    done
    nginx -t -q -c "$trial/nginx" || give_up "Nginx would not start with $etc/nginx and" \
        "$release/deploy/nginx.conf; see above. Nothing was changed."
    ls "$etc"/nginx/*.conf >/dev/null 2>&1 || say "Nginx serves nothing yet: copy" \
        "deploy/nginx/tls.conf or balancer.conf to $etc/nginx, and repeat this."
}

publish() {
    # The assets of a release are there before its first page names them.
    [ -e "$etc/aws.env" ] || return 0
    place=$(sed -n 's/^STATIC_PLACE=//p' "$etc/aws.env")
    [ -z "$place" ] || "$release/deploy/holdfast.sh" static publish "$place"
}

switch() {
    ln -sfn "$release" /opt/holdfast/.next
    mv -T /opt/holdfast/.next /opt/holdfast/current
    ln -sfn /opt/holdfast/current/deploy/holdfast.sh /usr/local/bin/holdfast
    install -m 0644 "$release"/deploy/systemd/holdfast* /etc/systemd/system/
    install -D -m 0644 "$release/deploy/systemd/nginx.service.d/holdfast.conf" \
        /etc/systemd/system/nginx.service.d/holdfast.conf
    install -m 0644 "$release/deploy/nginx.conf" /etc/nginx/nginx.conf
}

start() {
    # The one that runs drains and lets its transfers end: before Nginx is told of
    # anything, and before its own program is another one.
    if [ -e /opt/holdfast/current ]; then
        publish
        grace=$(sed -n 's/^HOLDFAST_GRACE_SECONDS=\([0-9]*\).*/\1/p' "$etc/holdfast.env")
        most=$((${grace:-30} + 300))
        timeout "$most" systemctl stop holdfast.target || give_up \
            "what runs did not end in $most s, and goes on. See: systemctl list-jobs"
    fi
    switch
    systemctl daemon-reload
    systemctl enable --quiet holdfast.target nginx.service
    systemctl reload-or-restart nginx.service
    if [ -e "$etc/aws.env" ]; then
        systemctl start holdfast-secrets.service
        publish
        systemctl enable --quiet --now holdfast-cloudwatch.timer
    fi
    # The database may be brought up to date first.
    timeout 1000 systemctl start holdfast.target || give_up "the site did not start." \
        "See: systemctl list-jobs; journalctl -u 'holdfast*'"
}

check
make_user
make_folders
make_program
try_nginx
if [ -d /run/systemd/system ]; then
    start
else
    switch
    say "systemd does not run here, so nothing was started."
fi
say "Holdfast $(basename "$release") is installed."
