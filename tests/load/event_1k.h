#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>

namespace millrace::load {

/// An event of 1 KB as an SDK in a browser sends it; every second one is an "Order Completed", the
/// others are a "Heartbeat".
inline std::string Event1k(size_t number) {
  std::string json = fmt::format(
      R"({{"type":"track","event":"{}","messageId":"5e10d13a-bf9a-44bf-b884-43a9{:08d}","userId":"user-{}",)"
      R"("anonymousId":"00000000-0000-4000-8000-000000{:06d}","originalTimestamp":"2026-10-14T11:15:18.300Z",)"
      R"("sentAt":"2026-10-14T11:15:53.296Z","channel":"web","context":{{"app":{{"build":"1.0.0","name":"Shop",)"
      R"("namespace":"com.example.shop","version":"1.0.0"}},"traits":{{"email":"someone@example.com","plan":"pro",)"
      R"("age":34}},"library":{{"name":"sdk-js","version":"2.1.0"}},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) )"
      R"(AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36","locale":"en-US",)"
      R"("ip":"93.184.216.34","os":{{"name":"Linux","version":"6.1"}},"screen":{{"density":2,"width":1440,)"
      R"("height":900}},"page":{{"path":"/checkout","referrer":"https://example.com/cart",)"
      R"("url":"https://example.com/checkout?step=3"}}}},"properties":{{"orderId":"o-{}","total":129.95,)"
      R"("currency":"EUR","coupon":null,"products":[{{"id":"p1","price":99.95,"quantity":1}},)"
      R"({{"id":"p2","price":15,"quantity":2}}]}},"integrations":{{"All":true}}}})",
      number % 2 == 0 ? "Order Completed" : "Heartbeat", number, number % 1000, number % 1000,
      number);
  return json;
}

}  // namespace millrace::load
