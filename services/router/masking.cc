#include "services/router/masking.h"

#include <algorithm>

#include "libs/destination/config.h"

namespace millrace::router {
namespace {

constexpr size_t kMaxBodyBytes = 10 << 10;

bool IsCredential(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  for (const std::string_view part : {"authorization", "cookie", "api-key", "apikey", "token",
                                      "secret", "password", "signature"}) {
    if (lower.find(part) != std::string::npos) return true;
  }
  return false;
}

void PutHeaders(const destination::Headers& headers, const secrets::Mask& mask,
                google::protobuf::Map<std::string, std::string>* out) {
  for (const auto& [name, value] : headers) {
    (*out)[name] = IsCredential(name) ? "***" : mask.Apply(value);
  }
}

// A secret that straddles the cut must not stay in half: mask first, then cut.
std::string MaskedBody(const std::string& body, const secrets::Mask& mask) {
  std::string text = mask.Apply(body);
  if (text.size() > kMaxBodyBytes) text.resize(kMaxBodyBytes);
  return text;
}

// The part of a URL that may carry a password: scheme://user:password@host.
std::string MaskedUrl(const std::string& url, const secrets::Mask& mask) {
  std::string text = mask.Apply(url);
  const size_t start = text.find("://");
  if (start == std::string::npos) return text;
  const size_t end = std::min(text.find_first_of("/?#", start + 3), text.size());
  const size_t at = text.rfind('@', end);
  if (at != std::string::npos && at > start + 3 && at < end) {
    text.replace(start + 3, at - start - 3, "***");
  }
  return text;
}

}  // namespace

secrets::Mask MaskOf(const destination::v1::Definition& definition,
                     const std::string& config_json) {
  const auto config = destination::NormaliseConfig(definition, config_json);
  return config.ok() ? secrets::Mask(config->secrets()) : secrets::Mask();
}

delivery::v1::HttpExchange MaskedExchange(const destination::Prepared& request,
                                          const destination::Answer& answer,
                                          const secrets::Mask& mask) {
  delivery::v1::HttpExchange exchange;
  exchange.set_method(request.method);
  exchange.set_url(MaskedUrl(request.url, mask));
  PutHeaders(request.headers, mask, exchange.mutable_request_headers());
  exchange.set_request_body(MaskedBody(request.body, mask));
  exchange.set_status(answer.status);
  PutHeaders(answer.headers, mask, exchange.mutable_response_headers());
  exchange.set_response_body(MaskedBody(answer.body, mask));
  exchange.set_error(mask.Apply(answer.network_error));
  return exchange;
}

}  // namespace millrace::router
