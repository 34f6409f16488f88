-- Finding chats by what they are about. (There is no release before this one, so the indexes need not be made
-- concurrently.) No column of them is one that a send changes: sends stay heap-only updates.

-- The chat of a purchase request, for its seller.
create index chats_by_purchase_request on chats (purchase_request_id, seller_id)
    where purchase_request_id is not null;

-- The support chats: all of them for an agent, one's latest for a double click.
create index chats_of_support on chats (created_by, created_at) where type = 'support';
