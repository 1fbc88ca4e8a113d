#include "libs/destination/mapped_request.h"

#include <algorithm>

namespace millrace::destination {
namespace {

namespace ondemand = simdjson::ondemand;

Status Wrong(std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "the mapping returned a wrong request: {}", what);
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

void AppendEncoded(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out->push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out->append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
}

/// Calls `use(name, text)` for each member of an object of texts, numbers and booleans; null is
/// left out.
template <typename Use>
Status EachMember(ondemand::value value, std::string_view where, Use use) {
  ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) {
    return Wrong(fmt::format("'{}' is not an object", where));
  }
  for (auto field : object) {
    std::string_view name;
    ondemand::value member;
    ondemand::json_type type{};
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(member) != simdjson::SUCCESS ||
        member.type().get(type) != simdjson::SUCCESS) {
      return Wrong(fmt::format("'{}' cannot be read", where));
    }
    const std::string key(name);
    std::string_view text;
    switch (type) {
      case ondemand::json_type::null:
        continue;
      case ondemand::json_type::string:
        if (member.get_string().get(text) != simdjson::SUCCESS) {
          return Wrong(fmt::format("'{}.{}' is not valid Unicode", where, key));
        }
        break;
      case ondemand::json_type::number:
      case ondemand::json_type::boolean:
        text = member.raw_json_token();
        while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
        break;
      default:
        return Wrong(fmt::format("'{}.{}' is not a text, number or boolean", where, key));
    }
    MR_RETURN_IF_ERROR(use(key, text));
  }
  return OkStatus();
}

Status SetText(ondemand::value value, std::string_view where, std::string* out) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) {
    return Wrong(fmt::format("'{}' is not a text", where));
  }
  out->assign(text);
  return OkStatus();
}

struct Parts {
  http::ClientRequest request;
  std::string query;
  std::string_view content_type;
};

Status AppendPair(std::string_view name, std::string_view text, std::string* out) {
  if (!out->empty()) out->push_back('&');
  AppendEncoded(name, out);
  out->push_back('=');
  AppendEncoded(text, out);
  return OkStatus();
}

Status TakeBody(ondemand::value value, std::string_view event, std::string* body) {
  ondemand::json_type type{};
  if (value.type().get(type) == simdjson::SUCCESS && type == ondemand::json_type::object) {
    body->assign(event);  // context.raw, the only object that may stand here
    return OkStatus();
  }
  return SetText(value, "body", body);
}

Status TakeField(std::string_view key, ondemand::value value, std::string_view event,
                 Parts* parts) {
  http::ClientRequest& request = parts->request;
  if (key == "method") return SetText(value, key, &request.method);
  if (key == "url") return SetText(value, key, &request.url);
  if (key == "query") {
    return EachMember(value, key, [&](const std::string& name, std::string_view text) {
      return AppendPair(name, text, &parts->query);
    });
  }
  if (key == "headers") {
    return EachMember(value, key, [&](const std::string& name, std::string_view text) {
      if (name.empty() || HasControl(name) || name.find_first_of(": ") != std::string::npos) {
        return Wrong(fmt::format("'{}' is not a header name", name));
      }
      if (HasControl(text)) return Wrong(fmt::format("header '{}' has control characters", name));
      request.headers.emplace_back(name, text);
      return OkStatus();
    });
  }
  if (key == "body") return TakeBody(value, event, &request.body);
  if (key == "json") {
    std::string_view text;
    if (simdjson::to_json_string(value).get(text) != simdjson::SUCCESS) {
      return Wrong("'json' cannot be read");
    }
    request.body.assign(text);
    parts->content_type = "application/json";
    return OkStatus();
  }
  if (key == "form") {
    parts->content_type = "application/x-www-form-urlencoded";
    return EachMember(value, key, [&](const std::string& name, std::string_view text) {
      return AppendPair(name, text, &request.body);
    });
  }
  return Wrong(fmt::format("it has no field '{}'", key));
}

bool SameName(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
         });
}

Status Finish(Parts* parts) {
  http::ClientRequest& request = parts->request;
  if (!(request.url.starts_with("https://") || request.url.starts_with("http://")) ||
      HasControl(request.url) || request.url.find(' ') != std::string::npos) {
    return Wrong("'url' is not an http or https URL");
  }
  if (request.method.empty() || !std::all_of(request.method.begin(), request.method.end(),
                                             [](char c) { return c >= 'A' && c <= 'Z'; })) {
    return Wrong("'method' is not an HTTP method");
  }
  if (!parts->query.empty()) {
    const size_t hash = std::min(request.url.find('#'), request.url.size());
    const char separator = request.url.find('?') < hash ? '&' : '?';
    request.url.insert(hash, separator + parts->query);
  }
  const auto is_type = [](const auto& header) { return SameName(header.first, "content-type"); };
  if (!parts->content_type.empty() &&
      std::none_of(request.headers.begin(), request.headers.end(), is_type)) {
    request.headers.emplace_back("content-type", parts->content_type);
  }
  return OkStatus();
}

Status DecodeOne(ondemand::value value, std::string_view event,
                 std::vector<http::ClientRequest>* requests) {
  ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return Wrong("it is not an object");
  Parts parts;
  for (auto field : object) {
    std::string_view key;
    ondemand::value member;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS ||
        field.value().get(member) != simdjson::SUCCESS) {
      return Wrong("it cannot be read");
    }
    MR_RETURN_IF_ERROR(TakeField(std::string(key), member, event, &parts));
  }
  MR_RETURN_IF_ERROR(Finish(&parts));
  requests->push_back(std::move(parts.request));
  return OkStatus();
}

}  // namespace

Status RequestDecoder::Decode(std::string* output, std::string_view event,
                              std::vector<http::ClientRequest>* requests) {
  const size_t size = output->size();
  output->reserve(size + simdjson::SIMDJSON_PADDING);
  ondemand::document document;
  ondemand::json_type type{};
  if (parser_.iterate(output->data(), size, output->capacity()).get(document) !=
          simdjson::SUCCESS ||
      document.type().get(type) != simdjson::SUCCESS) {
    return Wrong("it cannot be read");
  }
  if (type == ondemand::json_type::object) {
    ondemand::value value;
    if (document.get_value().get(value) != simdjson::SUCCESS) return Wrong("it cannot be read");
    return DecodeOne(value, event, requests);
  }
  if (type != ondemand::json_type::array) return Wrong("it is neither an object nor an array");
  ondemand::array array;
  if (document.get_array().get(array) != simdjson::SUCCESS) return Wrong("it cannot be read");
  for (auto item : array) {
    ondemand::value value;
    if (item.get(value) != simdjson::SUCCESS) return Wrong("it cannot be read");
    MR_RETURN_IF_ERROR(DecodeOne(value, event, requests));
  }
  return OkStatus();
}

}  // namespace millrace::destination
