// Sends every call type with RudderStack's Node.js SDK: node send_rudderstack.js URL WRITE_KEY USER
const module_ = require("@rudderstack/rudder-sdk-node");
const RudderAnalytics = module_.default || module_;

const [url, writeKey, userId] = process.argv.slice(2);
const client = new RudderAnalytics(writeKey, { dataPlaneUrl: url, flushAt: 4, flushInterval: 200, logLevel: "error" });
client.identify({ userId, traits: { email: "ada@example.com", plan: "pro" } });
client.track({ userId, event: "Order Completed", properties: { revenue: 9.5, items: [1, 2] } });
client.page({ userId, name: "Home", properties: { url: "/" } });
client.screen({ userId, name: "Main" });
client.group({ userId, groupId: "g1", traits: { name: "Acme" } });
client.alias({ userId, previousId: "anonymous-1" });
// A flush sends one batch; the rest leaves with the flush interval.
client.flush(() => setTimeout(() => process.exit(0), 2000));
