"""The best pair one can build of stock parts: keepalived, usbipd and the kernel's gadget, a re-attach loop.

Each appliance has a disk (the kernel's own, on usbip-vudc) with the same content, and the address moves by
adverts every 0.1 s. What no stock part does: keep a client's connection, or what was written.
"""

from __future__ import annotations

from typing import Final

from tests.lab import Machine

ADDRESS: Final = "10.77.0.100"
VHCI: Final = "/sys/devices/platform/vhci_hcd.0"
NODES: Final = "/dev/sd?"
MEGABYTES: Final = 16
GADGET: Final = f"""
set -e
modprobe -a usbip-vudc libcomposite usb_f_mass_storage
truncate -s {MEGABYTES}M /run/disk.img
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
mkdir -p /sys/kernel/config/usb_gadget/disk && cd /sys/kernel/config/usb_gadget/disk
echo 0x1209 > idVendor; echo 0x0008 > idProduct
mkdir -p strings/0x409 configs/c.1 functions/mass_storage.0
echo 0123456789AB > strings/0x409/serialnumber
echo /run/disk.img > functions/mass_storage.0/lun.0/file
ln -s functions/mass_storage.0 configs/c.1/
echo usbip-vudc.0 > UDC
"""
KEEPALIVED: Final = """
global_defs {{
    vrrp_version 3
    vrrp_garp_master_repeat 3
    vrrp_garp_master_delay 1
}}
vrrp_instance pair {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {address}/24
    }}
}}
"""
ATTACH_FOR_EVER: Final = f"""
while :; do
    grep -q ' 00[56] ' {VHCI}/status || timeout 1 usbip attach -r {ADDRESS} -d usbip-vudc.0 || :
    sleep 0.05
done
"""


def set_up(machine: Machine, priority: int) -> None:
    """An appliance of stock parts; of two, the one with more priority is master."""
    machine.run(GADGET)
    machine.start("usbipd", "exec usbipd -4 --device")
    machine.wait_for_port(3240)
    machine.write_file("/etc/pair.conf", KEEPALIVED.format(priority=priority, address=ADDRESS))
    machine.start("keepalived", "exec keepalived --dont-fork --vrrp --log-console --use-file /etc/pair.conf")


def wait_master(machine: Machine) -> None:
    machine.wait_until(f"ip addr show dev eth0 | grep -q {ADDRESS}/")


def attach(client: Machine) -> None:
    client.run("modprobe vhci-hcd")
    client.start("attach", ATTACH_FOR_EVER)


def detach(client: Machine) -> None:
    """After `attach` was ended."""
    client.run(
        f"for port in $(awk '$3 == 6 {{print $2 + 0}}' {VHCI}/status); do echo $port > {VHCI}/detach; done"
    )
