// SPDX-License-Identifier: Apache-2.0
/**
 * Answers every TCP connection with its name, and every datagram to a multicast group (one address, given as an argument) with
 * its name to the sender. Prints "ready".
 */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const [, , name = "", tcpPort = "", group = "", groupPort = ""] = process.argv;

const socket = createSocket({ type: "udp4", reuseAddr: true });
socket.on("message", (_message, sender) => socket.send(name, sender.port, sender.address));
const server = createServer((connection) => {
  // Whoever only probes may be gone already.
  connection.on("error", () => undefined).end(name);
});
server.listen({ port: Number(tcpPort), host: "::" }, () => {
  if (group === "") return void process.stdout.write("ready\n");
  socket.bind(Number(groupPort), () => {
    socket.addMembership(group);
    process.stdout.write("ready\n");
  });
});
